"""Options of the commands that label images, `label`, `estimate` and `demo`, with the help that teaches them."""

import argparse

from ....detectors.tiling.options import TileOptions
from .detectors import add_detector, add_verbose, add_weights_options
from .values import auto_or_positive, positive, price, rgb, scheme, seconds

LABEL_EXAMPLES = """\
examples:
  # every image below a folder, with the small detector that comes with labelbeam
  labelbeam label --input photos/ --output out --detector demo

  # a published detector of TF Hub, downloaded once into tensorflow_hub's cache
  labelbeam label --input 'photos/**/*.jpg' --output out --detector mask_rcnn_inception_resnet_v2_1024x1024

  # a list of URIs (http, gs, s3, files) and a WebDataset shard; a SavedModel of your own with its label map
  labelbeam label --input uris.csv shard-000.tar --output gs://bucket/out --detector mine.yaml --weights gs://bucket/model

  # several processes on this machine; Flink and Dataflow have presets, too. Beam's own options follow and win
  labelbeam label --input photos/ --output out --detector demo --runner-config multi_process --direct_num_workers 4

The same command again goes on where the last one stopped: images that are labelled already are skipped.
"""


def add_label(commands) -> None:
    label = commands.add_parser(
        "label",
        allow_abbrev=False,
        help="label images",
        description="Labels images and writes Parquet tables: images (one row for each input, whatever\nhappened to it), "
        "detections, masks. Options that aren't listed here go to Beam\n(--runner, --temp_location, …).",
        epilog=LABEL_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main = label.add_argument_group("what")
    _add_inputs(main, required=True, help="folder of the tables; holds one label set")
    how = _add_detector_options(label)
    how.add_argument(
        "--share-model",
        action="store_true",
        help="one loaded detector for all processes of a machine, instead of one each",
    )
    how.add_argument(
        "--model-copies",
        type=positive,
        metavar="N",
        help="with --share-model: N loaded detectors a machine that take turns, where there is room (default: 1)",
    )
    where = label.add_argument_group("where it runs")
    where.add_argument(
        "--runner-config",
        metavar="NAME_OR_YAML",
        help="Beam's options for a runner: in_process (the default), multi_process, prism, flink, dataflow_gpu, "
        "or a YAML file of the same form. Beam's options on the command line win",
    )
    where.add_argument(
        "--shared-folder",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="folders that workers on other machines see at the same path (a network disk, a volume); other "
        "local paths are refused where workers run elsewhere",
    )
    _add_result_options(label).add_argument(
        "--part-images",
        type=positive,
        metavar="N",
        help="images in a part: what is lost at most when a job is killed (default: 500); small parts are merged at the end",
    )
    _add_reading_options(label)
    add_verbose(label)


def add_estimate(commands) -> None:
    estimate = commands.add_parser(
        "estimate",
        allow_abbrev=False,
        help="how long a job would take, and how many worker hours",
        description="Lists the inputs, labels a random sample of them into a folder that is then deleted, and says how long the "
        "whole job takes on workers like this machine. Takes most of the options of `labelbeam label`; docs/"
        "estimating.md says what the figures hold and what they leave out.",
    )
    main = estimate.add_argument_group("what")
    _add_inputs(
        main, help="the job's output folder: what is labelled there already isn't counted. Nothing is written to it"
    )
    forecast = estimate.add_argument_group("forecast")
    forecast.add_argument(
        "--sample",
        type=positive,
        default=50,
        metavar="N",
        help="images to time at least; fast detectors get more, for about ten seconds (default: %(default)s)",
    )
    forecast.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the sample; the same one takes the same images (default: %(default)s)",
    )
    forecast.add_argument(
        "--workers",
        nargs="+",
        type=positive,
        default=[1, 10, 100],
        metavar="N",
        help="numbers of machines to forecast for (default: 1 10 100)",
    )
    forecast.add_argument("--price-per-hour", type=price, metavar="X", help="of one worker, in any currency")
    forecast.add_argument("--json", metavar="FILE", help="write everything to this file, for programs")
    _add_detector_options(estimate)
    _add_result_options(estimate)
    _add_reading_options(estimate)
    add_verbose(estimate)
    estimate.set_defaults(share_model=False, model_copies=None, part_images=None, shared_folder=[])


def add_demo(commands) -> None:
    demo = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="label the images that come with labelbeam and draw the result",
        description="A real job over the images and the small detector that come with labelbeam: needs no network, takes a "
        "minute, ends with a contact sheet to look at.",
    )
    demo.add_argument(
        "--output", default="demo-labels", metavar="FOLDER", help="folder of the tables (default: %(default)s)"
    )
    add_verbose(demo)


def _add_inputs(main, **output) -> None:
    main.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="INPUT",
        help="images, folders (searched to any depth), globs; lists of URIs (.txt, .csv, .jsonl, .parquet); "
        "containers of images (.tar, .tfrecord, .parquet with a column of bytes). Local paths, http(s), "
        "and stores that Beam knows (gs://, s3://, hdfs://)",
    )
    main.add_argument("--output", metavar="FOLDER", **output)
    add_detector(main)
    main.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="label only N of the images, the same ones each time (for a first try)",
    )
    main.add_argument(
        "--retry-failed",
        nargs="*",
        metavar="KIND",
        help="label again what failed earlier, with these kinds of errors (timeout, unreachable, …) or any; the "
        "new rows take the place of the old",
    )


def _add_detector_options(parser: argparse.ArgumentParser):
    how = parser.add_argument_group("detector")
    add_weights_options(how)
    how.add_argument(
        "--batch-size",
        type=auto_or_positive,
        default="auto",
        metavar="auto|N",
        help="images in a call of the model at most; auto: found by trying, up to 16 (default: %(default)s)",
    )
    how.add_argument(
        "--boxes",
        nargs="+",
        metavar="TABLE",
        help="Parquet or CSV of uri and ymin, xmin, ymax, xmax (0 to 1) or x, y, w, h (pixels): label these boxes "
        "instead of the detector's own proposals (Mask R-CNN, --engine keras)",
    )
    how.add_argument(
        "--tiles",
        type=auto_or_positive,
        metavar="auto|SIDE",
        help="look at large images tile by tile, for small things in them: SIDE in pixels, auto for the detector's input "
        "size (docs/large-images.md)",
    )
    how.add_argument(
        "--tile-overlap",
        type=float,
        default=TileOptions.overlap,
        metavar="SHARE",
        help="share of a tile's side that it has in common with the next (default: a third)",
    )
    how.add_argument(
        "--tiles-only", action="store_true", help="not the whole image as one more tile: nothing larger is wanted"
    )
    return how


def _add_result_options(parser: argparse.ArgumentParser):
    results = parser.add_argument_group("results")
    results.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        metavar="S",
        help="drop detections with a lower score (default: %(default)s)",
    )
    results.add_argument(
        "--max-detections",
        type=positive,
        default=100,
        metavar="N",
        help="at most N detections an image, the best ones (default: %(default)s)",
    )
    results.add_argument(
        "--mask-format",
        choices=["rle", "png", "none"],
        default="rle",
        help="rle: table `masks` with COCO run-length encodings; png: one file a mask (default: %(default)s)",
    )
    results.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="OUTPUT_NAME",
        help="further outputs of the model, written to the table `tensors`",
    )
    return results


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--uri-column",
        default="uri",
        metavar="NAME",
        help="column of .csv, .jsonl and .parquet lists (default: %(default)s)",
    )
    reading.add_argument(
        "--image-column", metavar="NAME", help="column of a .parquet file that holds the images' bytes"
    )
    reading.add_argument(
        "--exif-orientation",
        choices=["apply", "ignore"],
        default="apply",
        help="turn images as their EXIF data says (default: %(default)s)",
    )
    reading.add_argument(
        "--decode",
        choices=["exact", "fast"],
        default="exact",
        help="fast: JPEGs much larger than the detector's input at 1/2, 1/4 or 1/8 of their size, never "
        "below that input; labels differ a little, see docs/reading.md (default: %(default)s)",
    )
    reading.add_argument(
        "--background",
        type=rgb,
        default=(255, 255, 255),
        metavar="R,G,B",
        help="colour under transparent images (default: 255,255,255)",
    )
    reading.add_argument("--max-bytes", type=positive, metavar="N", help="fail images with larger files as too_large")
    reading.add_argument("--max-pixels", type=positive, metavar="N", help="fail images with more pixels as too_large")
    reading.add_argument("--fetch-threads", type=positive, metavar="N", help="images read at the same time")
    reading.add_argument(
        "--fetch-deadline-s", type=seconds, metavar="SECONDS", help="give an image up after so long, retries included"
    )
    reading.add_argument(
        "--max-per-host",
        type=positive,
        metavar="N",
        help="requests to one http(s) host at once, of each worker process (default: 16)",
    )
    reading.add_argument(
        "--allow-scheme",
        nargs="+",
        type=scheme,
        metavar="SCHEME",
        help="what may be read: file, http, https, s3, gs, …; other URIs of lists fail as forbidden. Default: "
        "what the inputs themselves are, and of each list the scheme of its first entry (http and https "
        "count as one); entries of a list on a server never read local files",
    )
    reading.add_argument(
        "--public-hosts-only",
        action="store_true",
        help="http(s) images on private, loopback, link-local, multicast and reserved addresses fail as "
        "forbidden; connects directly, without a proxy",
    )
