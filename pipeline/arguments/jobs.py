"""The options that describe a job, for `label` and `estimate`, named as the fields of the settings that they fill.

All fields of `LabelConfig`, `ListOptions` and `JobSpec` have one; `ExecutionOptions` says which of its own are for
Python only.
"""

import argparse
from typing import get_args

from ...labelset.rows import ErrorKind
from ...storage.errors import UsageError
from ...transforms.execution_options import ExecutionOptions
from ...transforms.sources.inputs import ListOptions, PagesChoice, is_manifest
from ..settings import JobSpec, LabelConfig
from .common import (
    add_detector,
    add_field,
    add_storage_option,
    add_weights_options,
    auto_or_positive,
    positive,
    positive_or_zero,
    rgb,
    scheme,
    seconds,
    settings_of,
)

INPUTS_HELP = """\
INPUT is an image, a folder (searched to any depth) or a glob; a list of URIs (.txt, .csv, .tsv, .jsonl, .parquet),
`-` for one on standard input; or a container of images (.tar, .tfrecord, .parquet with a column of bytes). Local
paths, http(s) and stores (gs://, s3://, hdfs://). INPUTs come first, or after --input."""


def add_what(main, **output) -> None:
    """Inputs, output, detector: the first options of a command that labels."""
    main.add_argument("--input", nargs="+", default=[], metavar="INPUT", help="the same as INPUTs that come first")
    main.add_argument(
        "--inventory",
        nargs="+",
        default=[],
        metavar="MANIFEST",
        help="the manifest.json of an S3 Inventory or of an inventory report of Google's Storage Insights: its bucket "
        "without a listing (docs/scale.md)",
    )
    main.add_argument("-o", "--output", metavar="FOLDER", **output)
    add_detector(main)
    add_field(
        main,
        LabelConfig,
        "min_score",
        "drop detections with a lower score",
        type=float,
        metavar="S",
    )
    add_field(
        main,
        JobSpec,
        "limit",
        "label only N of the images, the same ones each time (for a first try)",
        type=positive,
        metavar="N",
    )
    main.add_argument(
        "--retry-failed",
        nargs="*",
        metavar="KIND",
        help="label again what failed earlier, with these kinds of errors (timeout, unreachable, …) or any; the new "
        "rows take the place of the old",
    )
    add_field(
        main,
        JobSpec,
        "relabel_changed",
        "label again images whose files were changed since (size and time, or ETag; docs/jobs.md)",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """The other fields of `LabelConfig`."""
    labels = parser.add_argument_group("what decides the labels (an output folder holds one such configuration)")
    add_weights_options(labels)
    add_field(
        labels,
        LabelConfig,
        "detector_package",
        "file or folder of the module of --detector module:Class: it goes along to workers, whatever the runner",
        metavar="PATH",
    )
    add_field(
        labels,
        LabelConfig,
        "max_detections",
        "at most N detections an image, the best ones",
        type=positive,
        metavar="N",
    )
    add_field(
        labels,
        LabelConfig,
        "mask_format",
        "rle: table `masks` with COCO run-length encodings; png: one file a mask",
        choices=["rle", "png", "none"],
    )
    add_field(
        labels,
        LabelConfig,
        "keep",
        "further outputs of the model, written to the table `tensors`",
        nargs="+",
        metavar="OUTPUT_NAME",
    )
    add_field(
        labels,
        LabelConfig,
        "decode",
        "fast: JPEGs much larger than the detector's input at 1/2, 1/4 or 1/8 of their size, never below that input; "
        "labels differ a little, see docs/reading.md",
        choices=["exact", "fast"],
    )
    add_field(
        labels,
        LabelConfig,
        "exif_orientation",
        "turn images as their EXIF data says",
        choices=["apply", "ignore"],
    )
    add_field(
        labels,
        LabelConfig,
        "background_rgb",
        "colour under transparent images",
        type=rgb,
        metavar="R,G,B",
    )
    add_field(
        labels,
        LabelConfig,
        "boxes",
        "Parquet or CSV of uri and ymin, xmin, ymax, xmax (0 to 1) or x, y, w, h (pixels): box prompts, labelled "
        "instead of the detector's own proposals (Mask R-CNN, --engine keras)",
        nargs="+",
        metavar="TABLE",
    )
    add_field(
        labels,
        LabelConfig,
        "tiles",
        "look at large images tile by tile, for small things in them: SIDE in pixels, auto for the detector's input "
        "size (docs/large-images.md)",
        type=auto_or_positive,
        metavar="auto|SIDE",
    )
    add_field(
        labels,
        LabelConfig,
        "tile_overlap",
        "share of a tile's side that it has in common with the next",
        type=float,
        metavar="SHARE",
    )
    add_field(labels, LabelConfig, "tiles_only", "no larger tiles, up to the whole image: what is larger isn't wanted")


def add_lists(parser: argparse.ArgumentParser) -> None:
    """The fields of `ListOptions`."""
    lists = parser.add_argument_group("inputs", INPUTS_HELP)
    add_field(lists, ListOptions, "uri_column", "column of .csv, .tsv, .jsonl and .parquet lists", metavar="NAME")
    add_storage_option(lists)
    add_field(
        lists,
        ListOptions,
        "image_column",
        "column of a .parquet file, or feature of a .tfrecord file, that holds the images' bytes",
        metavar="NAME",
    )
    add_field(
        lists,
        ListOptions,
        "exclude",
        "leave files and folders out of folders and globs: names ('thumbs', '*.tmp.jpg'), or paths below the folder "
        "('2019/**')",
        nargs="+",
        metavar="GLOB",
    )
    add_field(
        lists,
        ListOptions,
        "uri_prefix",
        "put TEXT in front of relative entries of lists (default: the list's folder)",
        metavar="TEXT",
    )
    add_field(
        lists,
        ListOptions,
        "carry",
        "columns of lists and Parquet files, features of .tfrecord files, keys of the .json beside an image in a .tar: "
        "they become columns of the table images",
        nargs="+",
        metavar="COLUMN",
    )
    add_field(
        lists,
        ListOptions,
        "frames_every",
        "which frames of videos are images: one in so many seconds (0.5), every so many frames (10f), or keyframes",
        metavar="SECONDS|Nf|keyframes",
    )
    add_field(
        lists,
        ListOptions,
        "pages",
        "which pages of TIFF files, and frames of animated GIF, WebP and PNG files, are images",
        choices=get_args(PagesChoice),
    )
    add_field(
        lists,
        ListOptions,
        "strict_inputs",
        "fail the job at a row of a list or a place in a container that makes no sense; else it is a failed image",
    )


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Fields of `ExecutionOptions` for reading and calling the model."""
    reading = parser.add_argument_group("reading, and how the work is done (decides no labels)")

    def add(name: str, help: str, **options) -> None:
        add_field(reading, ExecutionOptions, name, help, **options)

    add(
        "batch_size",
        "images in a call of the model at most; auto: found by trying, up to 16",
        type=auto_or_positive,
        metavar="auto|N",
    )
    add(
        "backend",
        "what Keras computes with, of engine keras; if absent, what KERAS_BACKEND says, or tensorflow",
        choices=["tensorflow", "jax", "torch"],
    )
    add("max_bytes", "fail images with larger files as too_large", type=positive, metavar="N")
    add("max_pixels", "fail images with more pixels as too_large", type=positive, metavar="N")
    add("exif_columns", "fill the columns captured_at, camera, latitude and longitude of images from EXIF data")
    add("deadline_s", "give an image up after so long, retries included", type=seconds, metavar="SECONDS")
    add("retries", "repeat a failed request so often", type=positive_or_zero, metavar="N")
    add("read_threads", "files read at the same time, of each worker process", type=positive, metavar="N")
    add("decode_threads", "images decoded at the same time; one a processor if absent", type=positive, metavar="N")
    add("prefetch_images", "images read, decoded or waiting for the model at once", type=positive, metavar="N")
    add("prefetch_bytes", "of decoded pixels that wait for the model", type=positive, metavar="N")
    add(
        "prefetch_encoded_bytes",
        "of files above 2 MiB that are read or wait to be decoded; a larger one is read alone",
        type=positive,
        metavar="N",
    )
    add(
        "model_timeout_s",
        "end a worker process whose model hasn't answered for so long; the next start runs its images alone, and "
        "passes over one for which it happens again",
        type=seconds,
        metavar="SECONDS",
    )
    add("max_per_host", "requests to one http(s) host at once, of each worker process", type=positive, metavar="N")
    add("user_agent", "how requests introduce themselves; some archives want an address in it", metavar="TEXT")
    add(
        "allow_schemes",
        "what may be read: file, http, https, s3, gs, …; other URIs of lists fail as forbidden. If absent: what the "
        "inputs themselves are, and of each list the scheme of its first entry (http and https count as one); entries "
        "of a list on a server never read local files",
        nargs="+",
        type=scheme,
        metavar="SCHEME",
    )
    add(
        "public_hosts_only",
        "http(s) images on private, loopback, link-local, multicast and reserved addresses fail as forbidden; connects "
        "directly, without a proxy",
    )


def job_spec(args: argparse.Namespace) -> JobSpec:
    """The job that the arguments describe.

    Raises:
      UsageError: names the argument that can't be used.
    """
    return JobSpec(
        inputs=[*args.input, *map(_manifest, args.inventory)],
        output=args.output,
        labels=settings_of(LabelConfig, args),
        execution=settings_of(ExecutionOptions, args),
        listing=settings_of(ListOptions, args),
        limit=args.limit,
        retry_failed=get_args(ErrorKind) if args.retry_failed == [] else args.retry_failed,
        relabel_changed=args.relabel_changed,
    )


def _manifest(uri: str) -> str:
    if not is_manifest(uri):
        raise UsageError(f"--inventory {uri}: expected a manifest, a .json file; its data files are found through it")
    return uri


def store_arguments(args: argparse.Namespace) -> list[str]:
    """`--storage-option` as options of Beam, which hands them to each worker."""
    return [f"--storage_option={option}" for option in args.storage_option]
