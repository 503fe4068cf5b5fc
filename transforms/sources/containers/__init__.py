"""Containers: files with the bytes of many images inside. What lies in them, and the bytes of one member.

One module a format, each with `index` and `Reader`: `tar` (WebDataset), `tfrecord` (tf.Example), `parquet`, `video`;
and for pages of images `tiff` and `animation`, of which `pages` is the index. A container must lie where it can be read
at any place, uncompressed: on a disk, or an object store that Beam knows; videos and pages on http(s) servers are
copied.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from ....storage import files, http_client
from ....storage.file_info import FileVersion
from ....storage.read_options import ReadOptions
from ....storage.uris import is_http
from ...elements import ImageError, ImageReference, MemberLocation
from ...fetch.image_errors import image_error
from ..frame_choice import FrameChoice
from ..inputs import InputError, ListOptions, format_of
from . import animation, parquet, tar, tfrecord, tiff, video
from .forward import ForwardReader
from .own_thread import ReaderInOwnThread, ReadHangsError

_GIVE_UP_FACTOR = 1.25  # a little later than decoding gives up by itself
MAX_IDLE = 4  # containers that stay open while nobody reads them
_READERS = {
    "tar": tar.Reader,
    "tfrecord": tfrecord.Reader,
    "parquet": parquet.Reader,
    "tiff": tiff.Reader,
    "animation": animation.Reader,
    "video": video.Reader,
}


def index_members(path: str, options: ListOptions = ListOptions()) -> Iterator[ImageReference]:
    """Yields a reference for every image in a container, in the container's order.

    Args:
      path: absolute path or URI; its extension tells the format.
      options: names the column of a Parquet file, or the feature of a TFRecord file; and what comes along of each.

    Yields also references with a `problem`, for what is damaged or cut off.

    Raises:
      InputError: if the container is compressed or not what its name says.
      OSError: if it can't be read; clients of object stores raise errors of their own as well.
    """
    match format_of(path):
        case "tar":
            yield from tar.index(path, options.carry)
        case "tfrecord":
            yield from tfrecord.index(path, options.image_column, options.carry)
        case "parquet" if (column := parquet.find_image_column(path, options)) is not None:
            yield from parquet.index(path, column, options.carry)
        case "video":
            yield from video.index(path, FrameChoice(options.frames_every))
        case _:
            raise InputError(f"container {path}: expected .tar, .tfrecord, or .parquet with a column of images")


def read_member(
    location: MemberLocation,
    options: ReadOptions = ReadOptions(),
    on_version: Callable[[FileVersion], None] = lambda version: None,
) -> bytes:
    """Reads the encoded bytes of one image out of its container. Thread-safe.

    The chunks of containers read last stay open in each process, a few of them. Members of one chunk are read one after
    the other, and cheapest in order: see `group_by_chunk.py`.

    Args:
      location: where it lies.
      options: limits of pages of TIFF files, and how those on http(s) servers are read.
      on_version: called with the container's version, as it was when it was opened.

    Raises:
      ImageError: `not_found`, `forbidden` or `unreachable` as the container is, `truncated` if it has changed or shrunk
        since it was listed, `not_found` if the record or row has no bytes.
    """
    try:
        with _open.borrow(location, options) as slot:
            on_version(slot.version)
            image = slot.reader.read(location)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # each object store's client has its own classes
        raise image_error(error) from error
    if image is None:
        place = f"row {location.offset}" if location.format == "parquet" else f"the record at byte {location.offset}"
        path = "; where it names a file (field `path`), give those names as a list" if "." in location.column else ""
        raise ImageError("not_found", f"container {location.container}: {place} holds no image{path}")
    return image


def expect_frame(location: MemberLocation) -> None:
    """Says that a frame will be read: whoever is there first, decoding forwards, keeps it for its reader."""
    _open.expect(location)


def read_frame(
    location: MemberLocation, options: ReadOptions, on_version: Callable[[FileVersion], None] = lambda version: None
) -> Any:
    """A frame as the decoder gives it: `av.VideoFrame` of a video, `PIL.Image.Image` of an animation. Thread-safe;
    cheapest in order, as `read_member`.

    Args:
      location: where it is.
      options: `deadline_s` is that of decoding, from the keyframe before at most; the rest is for files on http(s)
        servers.
      on_version: called with the file's version, as it was when it was opened.

    Raises:
      ImageError: `not_found`, `forbidden` or `unreachable` as the file is; `truncated` if the frame is damaged, or the
        file has changed since it was listed; `timeout`.
    """
    try:
        with _open.borrow(location, options) as slot:
            frame = slot.reader.read(location, slot.expected, options.deadline_s * _GIVE_UP_FACTOR)
            on_version(slot.reader.version)
    except (ImageError, MemoryError):
        raise
    except ReadHangsError as error:
        message = f"not read within the deadline of {options.deadline_s:g} s: reading hangs"
        raise ImageError("timeout", message) from error
    except InputError as error:
        raise ImageError("truncated", f"{error}; it has changed since it was listed") from error
    except Exception as error:  # each object store's client has its own classes
        raise image_error(error) from error
    if frame is None:
        where = f"page {location.offset + 1} or before" if location.time_s is None else f"{location.time_s:.3f} s"
        raise ImageError("truncated", f"container {location.container}: damaged at {where}")
    return frame


def version_of(container: str, policy: ReadOptions) -> FileVersion:
    """A container's version, which stands for that of each of its members; empty if it can't be asked for."""
    with contextlib.suppress(Exception):  # each filesystem's client has classes of its own
        if is_http(container):
            return http_client.head(container, policy)._replace(num_bytes=None)
        return files.version_of(container, policy)._replace(num_bytes=None)
    return FileVersion()


def close_containers() -> None:
    """Closes the containers that this process keeps open. They open again when they are needed."""
    _open.close_idle(keep=0)


class _Slot:
    """A container that is or will be open, and how many threads want it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.users = 0
        self.reader: Any = None  # of the container's format, once it is open
        self.version = FileVersion()
        self.expected: MutableMapping[int, int] = {}  # frames that will be read, and their keyframes


class _OpenContainers:
    """Keeps the readers used last open, at most `max_idle` of those that no thread is using.

    One for each chunk: threads at work on different chunks of one container don't wait for each other, and don't make a
    Parquet reader jump between its rows.
    """

    def __init__(self, max_idle: int):
        self._max_idle = max_idle
        self._lock = threading.Lock()  # of the slots; never held while a container is opened, read or closed
        self._slots: OrderedDict[tuple[str, int], _Slot] = OrderedDict()  # least recently used first

    def expect(self, location: MemberLocation) -> None:
        with self._lock:
            slot = self._slots.setdefault((location.container, location.chunk), _Slot())
        slot.expected[location.offset] = location.keyframe

    @contextlib.contextmanager
    def borrow(self, location: MemberLocation, options: ReadOptions) -> Iterator[_Slot]:
        """Gives this thread alone a chunk's reader, in its slot, and the container's version. A reader that has raised
        is closed and not used again."""
        key = (location.container, location.chunk)
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            slot.users += 1
        try:
            with slot.lock:
                if slot.reader is None:
                    reader_of = _READERS[location.format]
                    if issubclass(reader_of, ForwardReader):  # says its version itself
                        slot.reader = ReaderInOwnThread(reader_of(location.container, options))
                    else:
                        slot.version = version_of(location.container, options)
                        slot.reader = reader_of(location.container, options)
                try:
                    yield slot
                except Exception:
                    reader, slot.reader = slot.reader, None
                    if reader is not None:
                        reader.close()
                    raise
        finally:
            with self._lock:
                slot.users -= 1
            self.close_idle(self._max_idle)

    def close_idle(self, keep: int) -> None:
        """Closes readers that no thread is using, except the `keep` used last."""
        with self._lock:
            idle = [key for key, slot in self._slots.items() if not slot.users]
            slots = [self._slots.pop(key) for key in idle[: max(0, len(idle) - keep)]]
        for slot in slots:
            if slot.reader is not None:
                slot.reader.close()


_open = _OpenContainers(MAX_IDLE)
