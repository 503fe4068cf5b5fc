"""ExecutionOptions: how the work is done, which doesn't change what comes out of an image. The steps take it whole.

Imports nothing heavy, so that options can be made and checked before Beam is loaded.
"""

from dataclasses import dataclass
from typing import Literal

from ..detectors.keras.backend import Backend
from ..storage.read_options import MIB, ReadOptions
from ..storage.retry import check_positive
from .fetch.options import DecodeOptions

AUTO_BATCH_SIZE = 16  # images that a detector can keep its device busy with, few enough to hold decoded
_HAND_OVERS = 8  # portions in which prefetched images are handed on


@dataclass(frozen=True)
class ExecutionOptions(ReadOptions):
    """How a job works: batches, threads, limits, parts. `LabelConfig` has what decides the labels.

    The numbers of images, threads and bytes hold for one worker process that works on one bundle; a runner that works
    on several bundles at once in a process has as many. Beside them, memory holds what Pillow needs for
    `decode_threads` images. After a worker process died of lack of memory, they are halved.

    Args:
      batch_size: images in a call of the model, at most; `auto` leaves it to the engine, up to 16.
      backend: what Keras computes with, of engine keras: `tensorflow`, `jax` or `torch`; None leaves it to
        `KERAS_BACKEND`.
      share_model: one loaded detector for all processes of a machine, instead of one each.
      model_copies: with `share_model`, so many loaded detectors a machine, which take turns.
      read_threads: files read at once: by threads from disks and stores, by one thread for all over HTTP, where
        `max_per_host` bounds those of one host and what waits to be tried again isn't counted.
      decode_threads: images decoded at once; None for the number of processors that this process may use.
      prefetch_images: images that are read, decoded or waiting for the model at once.
      prefetch_decoded: decoded images that wait or are being made: enough for the model's next batch, and few enough
        that their memory is used again soon.
      prefetch_bytes: bytes of decoded pixels, or of what the detector has made of them ahead, whatever is more, that
        wait or are being made; a larger image passes alone. Images that are being made have both at once.
      prefetch_encoded_bytes: bytes of files that are read or waiting to be decoded, small ones (2 MiB) aside; a larger
        file passes alone.
      model_timeout_s: seconds after which a call of the model that hasn't answered ends the worker process; the next
        start runs its images alone. None for never.
      max_pixels: images with more pixels fail as `too_large`.
      exif_columns: whether the columns `captured_at`, `camera`, `latitude` and `longitude` of `images` are filled from
        EXIF data; otherwise they are null.
      part_images: a part (one Parquet file a table) is written at so many images: what a killed job loses at most. Much
        smaller parts cost files; small ones are compacted at the end of a job.
      part_seconds: or when its first image came so many seconds ago.
      part_bytes: or at so many bytes of rows in memory, estimated.
      shared_folders: local folders that workers on other machines see at the same path (a network disk, a volume).

    `RetryPolicy` and `ReadOptions` explain the fields of reading. Those without an option on the command line are for
    Python only: `connect_timeout_s`, `read_timeout_s`, `backoff_s`, `max_backoff_s`, `prefetch_decoded`, `part_bytes`.

    Raises:
      ValueError: names the field that is out of its range.

    Example:
      >>> labelbeam.ExecutionOptions(batch_size=4, deadline_s=30).max_batch_size
      4
    """

    batch_size: int | Literal["auto"] = "auto"
    backend: Backend | None = None
    share_model: bool = False
    model_copies: int = 1
    read_threads: int = 64
    decode_threads: int | None = None
    prefetch_images: int = 128
    prefetch_decoded: int = 32
    prefetch_bytes: int = 256 * MIB
    prefetch_encoded_bytes: int = 512 * MIB
    model_timeout_s: float | None = 1800.0
    max_pixels: int = DecodeOptions.max_pixels
    exif_columns: bool = False
    part_images: int = 500
    part_seconds: float = 120.0
    part_bytes: int = 64 * MIB
    shared_folders: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        check_positive(
            self,
            "model_copies",
            "read_threads",
            "prefetch_images",
            "prefetch_decoded",
            "prefetch_bytes",
            "prefetch_encoded_bytes",
            "max_pixels",
            "part_images",
            "part_seconds",
            "part_bytes",
        )
        for name in ("decode_threads", "model_timeout_s"):
            if getattr(self, name) is not None:
                check_positive(self, name)
        if self.batch_size != "auto":
            check_positive(self, "batch_size")

    @property
    def max_batch_size(self) -> int:
        """Images handed to the detector together, at most."""
        return AUTO_BATCH_SIZE if self.batch_size == "auto" else self.batch_size

    @property
    def handed_on_at_once(self) -> int:
        """Images that the consumer waits for together. One by one, it and the threads that decode would wait for each
        other all the time (`benchmarks/jobs/pipeline_overhead.py`)."""
        return max(1, self.prefetch_images // _HAND_OVERS)
