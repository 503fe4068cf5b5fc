"""The command line, `labelbeam COMMAND`: parses, calls, makes exit codes of errors:

    0  done      1  the job failed or is incomplete      2  the command can't be used as it is      130  Ctrl-C

What a command does is in a module of its own; heavy imports (Beam, TensorFlow) wait until a command needs them.
"""
import argparse
import json
import logging
import math
import os
import re
import sys
from collections.abc import Sequence
from importlib import metadata

from ..detectors.errors import UsageError
from ..transforms.credentials import redact

LABEL_EXAMPLES = """\
examples:
  # every picture below a folder, with the small detector that comes with labelbeam
  labelbeam label --input photos/ --output out --detector demo

  # a published detector of TF Hub, downloaded once into tensorflow_hub's cache
  labelbeam label --input 'photos/**/*.jpg' --output out --detector mask_rcnn_inception_resnet_v2_1024x1024

  # a list of URIs (http, gs, s3, files) and a WebDataset shard; a SavedModel of your own with its label map
  labelbeam label --input uris.csv shard-000.tar --output gs://bucket/out --detector mine.yaml --weights gs://bucket/model

  # several processes on this machine; Flink and Dataflow have presets, too. Beam's own options follow and win
  labelbeam label --input photos/ --output out --detector demo --runner-config multi_process --direct_num_workers 4

The same command again goes on where the last one stopped: images that are labelled already are skipped.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command, with the help that teaches."""
    parser = argparse.ArgumentParser(
        prog="labelbeam", allow_abbrev=False,
        description="Labels images at scale, offline: image URIs in, Parquet tables of detections and masks out.",
        epilog="`labelbeam COMMAND --help` explains a command. Start with `labelbeam demo`.")
    parser.add_argument("--version", action="version", version=f"labelbeam {metadata.version('labelbeam')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_label(commands)
    _add_estimate(commands)
    _add_demo(commands)
    commands.add_parser("detectors", allow_abbrev=False, help="list the detectors that labelbeam has configurations for",
                        description="Lists the configurations: input size, classes, engines, published accuracy.")
    _add_weights(commands)
    _add_stage(commands)
    _add_export(commands)
    status = commands.add_parser("status", allow_abbrev=False, help="what an output folder holds, and what its jobs did",
                                 description="Images, failures by kind with examples, detections, jobs, and what an "
                                             "interrupted job left behind. Changes nothing.")
    status.add_argument("output", metavar="OUT", help="output folder of `labelbeam label`")
    status.add_argument("--json", action="store_true", help="for programs")
    settle = commands.add_parser("settle", allow_abbrev=False, help="tidy up what dead jobs left in an output folder",
                                 description="Takes away unfinished parts, removes repeated rows, merges small parts. `labelbeam "
                                             "label` does so by itself; this is for folders that nothing is to be added to.")
    settle.add_argument("output", metavar="OUT", help="output folder of `labelbeam label`")
    _add_evaluate_and_compare(commands)
    _add_report_and_show(commands)
    return parser


def _add_label(commands) -> None:
    label = commands.add_parser(
        "label", allow_abbrev=False, help="label images",
        description="Labels images and writes Parquet tables: images (one row for each input, whatever\nhappened to it), "
                    "detections, masks. Options that aren't listed here go to Beam\n(--runner, --temp_location, …).",
        epilog=LABEL_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    main = label.add_argument_group("what")
    main.add_argument("--output", required=True, metavar="FOLDER", help="folder of the tables; holds one labelling")
    _add_inputs(main)
    how = _add_detector_options(label)
    how.add_argument("--share-model", action="store_true",
                     help="one loaded detector for all processes of a machine, instead of one each")
    how.add_argument("--model-copies", type=_positive, metavar="N",
                     help="with --share-model: N loaded detectors a machine that take turns, where there is room (default: 1)")
    where = label.add_argument_group("where it runs")
    where.add_argument("--runner-config", metavar="NAME_OR_YAML",
                       help="Beam's options for a runner: in_process (the default), multi_process, prism, flink, dataflow_gpu, "
                            "or a YAML file of the same form. Beam's options on the command line win")
    where.add_argument("--shared-folder", nargs="+", default=[], metavar="FOLDER",
                       help="folders that workers on other machines see at the same path (a network disk, a volume); other "
                            "local paths are refused where workers run elsewhere")
    _add_result_options(label).add_argument(
        "--part-images", type=_positive, metavar="N",
        help="images in a part: what is lost at most when a job is killed (default: 500); small parts are merged at the end")
    _add_reading_options(label)
    _add_verbose(label)


def _add_estimate(commands) -> None:
    estimate = commands.add_parser(
        "estimate", allow_abbrev=False, help="how long a job would take, and how many worker hours",
        description="Lists the inputs, labels a random sample of them into a folder that is then deleted, and says how long the "
                    "whole job takes on workers like this machine. Takes most of the options of `labelbeam label`; docs/"
                    "estimating.md says what the figures hold and what they leave out.")
    main = estimate.add_argument_group("what")
    main.add_argument("--output", metavar="FOLDER",
                      help="the job's output folder: what is labelled there already isn't counted. Nothing is written to it")
    _add_inputs(main)
    forecast = estimate.add_argument_group("forecast")
    forecast.add_argument("--sample", type=_positive, default=50, metavar="N",
                          help="images to time at least; fast detectors get more, for about ten seconds (default: %(default)s)")
    forecast.add_argument("--seed", type=int, default=0, metavar="N",
                          help="of the sample; the same one takes the same images (default: %(default)s)")
    forecast.add_argument("--workers", nargs="+", type=_positive, default=[1, 10, 100], metavar="N",
                          help="numbers of machines to forecast for (default: 1 10 100)")
    forecast.add_argument("--price-per-hour", type=_price, metavar="X", help="of one worker, in any currency")
    forecast.add_argument("--json", metavar="FILE", help="write everything to this file, for programs")
    _add_detector_options(estimate)
    _add_result_options(estimate)
    _add_reading_options(estimate)
    _add_verbose(estimate)
    estimate.set_defaults(share_model=False, model_copies=None, part_images=None)


def _add_inputs(main) -> None:
    main.add_argument("--input", nargs="+", required=True, metavar="INPUT",
                      help="pictures, folders (searched to any depth), globs; lists of URIs (.txt, .csv, .jsonl, .parquet); "
                           "containers of pictures (.tar, .tfrecord, .parquet with a column of bytes). Local paths, http(s), "
                           "and stores that Beam knows (gs://, s3://, hdfs://)")
    _add_detector(main)
    main.add_argument("--limit", type=_positive, metavar="N",
                      help="label only N of the images, the same ones each time (for a first try)")
    main.add_argument("--retry-failed", nargs="*", metavar="KIND",
                      help="label again what failed earlier, with these kinds of errors (timeout, unreachable, …) or any; the "
                           "new rows take the place of the old")


def _add_detector_options(parser: argparse.ArgumentParser):
    how = parser.add_argument_group("detector")
    _add_weights_options(how)
    how.add_argument("--batch-size", type=_batch_size, default="auto", metavar="auto|N",
                     help="pictures in a call of the model at most; auto: found by trying, up to 16 (default: %(default)s)")
    how.add_argument("--boxes", nargs="+", metavar="TABLE",
                     help="Parquet or CSV of uri and ymin, xmin, ymax, xmax (0 to 1) or x, y, w, h (pixels): label these boxes "
                          "instead of the detector's own proposals (Mask R-CNN, --engine native)")
    return how


def _add_result_options(parser: argparse.ArgumentParser):
    results = parser.add_argument_group("results")
    results.add_argument("--min-score", type=float, default=0.3, metavar="S",
                         help="drop detections with a lower score (default: %(default)s)")
    results.add_argument("--max-detections", type=_positive, default=100, metavar="N",
                         help="at most N detections an image, the best ones (default: %(default)s)")
    results.add_argument("--mask-format", choices=["rle", "png", "none"], default="rle",
                         help="rle: table `masks` with COCO run-length encodings; png: one file a mask (default: %(default)s)")
    results.add_argument("--keep", nargs="+", default=[], metavar="OUTPUT_NAME",
                         help="further outputs of the model, written to the table `tensors`")
    return results


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group("reading")
    reading.add_argument("--uri-column", default="uri", metavar="NAME",
                         help="column of .csv, .jsonl and .parquet lists (default: %(default)s)")
    reading.add_argument("--image-column", metavar="NAME", help="column of a .parquet file that holds the pictures' bytes")
    reading.add_argument("--exif-orientation", choices=["apply", "ignore"], default="apply",
                         help="turn pictures as their EXIF data says (default: %(default)s)")
    reading.add_argument("--decode", choices=["exact", "fast"], default="exact",
                         help="fast: JPEGs much larger than the detector's input at 1/2, 1/4 or 1/8 of their size, never "
                              "below that input; labels differ a little, see docs/reading.md (default: %(default)s)")
    reading.add_argument("--background", type=_rgb, default=(255, 255, 255), metavar="R,G,B",
                         help="colour under transparent pictures (default: 255,255,255)")
    reading.add_argument("--max-bytes", type=_positive, metavar="N", help="fail pictures with larger files as too_large")
    reading.add_argument("--max-pixels", type=_positive, metavar="N", help="fail pictures with more pixels as too_large")
    reading.add_argument("--fetch-threads", type=_positive, metavar="N", help="pictures read at the same time")
    reading.add_argument("--fetch-deadline-s", type=_seconds, metavar="SECONDS",
                         help="give a picture up after so long, retries included")
    reading.add_argument("--max-per-host", type=_positive, metavar="N",
                         help="requests to one http(s) host at once, of each worker process (default: 16)")
    reading.add_argument("--allow-scheme", nargs="+", type=_scheme, metavar="SCHEME",
                         help="what may be read: file, http, https, s3, gs, …; other URIs of lists fail as forbidden. Default: "
                              "what the inputs themselves are, and of each list the scheme of its first entry (http and https "
                              "count as one); entries of a list on a server never read local files")
    reading.add_argument("--public-hosts-only", action="store_true",
                         help="http(s) pictures on private, loopback, link-local, multicast and reserved addresses fail as "
                              "forbidden; connects directly, without a proxy")


def _add_detector(parser) -> None:
    parser.add_argument("--detector", required=True, metavar="NAME_OR_YAML",
                        help="a name that `labelbeam detectors` lists, or a YAML file of the same form, also in a store")


def _add_weights_options(parser) -> None:
    parser.add_argument("--weights", metavar="HANDLE_OR_FOLDER",
                        help="TF Hub handle or folder of a SavedModel, instead of the configuration's; for the native engine also "
                             "a checkpoint (FOLDER/ckpt-0) or a file of `labelbeam weights import`")
    parser.add_argument("--engine", choices=["saved_model", "native"], default="saved_model",
                        help="saved_model: the published graph as it is; native: labelbeam's own network (default: %(default)s)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32",
                        help="of the native engine's convolutions (default: %(default)s)")


def _add_demo(commands) -> None:
    demo = commands.add_parser(
        "demo", allow_abbrev=False, help="label the pictures that come with labelbeam and draw the result",
        description="A real job over the pictures and the small detector that come with labelbeam: needs no network, takes a "
                    "minute, ends with a contact sheet to look at.")
    demo.add_argument("--output", default="demo-labels", metavar="FOLDER", help="folder of the tables (default: %(default)s)")
    _add_verbose(demo)


def _add_report_and_show(commands) -> None:
    report = commands.add_parser(
        "report", allow_abbrev=False, help="a labelling on one HTML page: figures, charts, a gallery",
        description="One page that needs no network, at most 5 MB whatever the number of images: what was labelled with what, "
                    "charts, and a sample of pictures with their labels, which can be filtered by class and score. It holds "
                    "pictures and their URIs: pass it on as you would those.")
    report.add_argument("output", metavar="OUT", help="output folder of `labelbeam label`")
    report.add_argument("--output", dest="to_path", metavar="FILE.html", help="the page (default: OUT/report.html)")
    report.add_argument("--seed", type=int, default=0, metavar="N",
                        help="of the sample of pictures; the same one shows the same (default: %(default)s)")
    show = commands.add_parser(
        "show", allow_abbrev=False, help="one image with its labels drawn in",
        description="Draws one image's boxes, masks and names, and lists its detections.")
    show.add_argument("output", metavar="OUT", help="output folder of `labelbeam label`")
    show.add_argument("image", metavar="IMAGE", help="its URI as in the tables, its image_id, or the end of its URI after a /, "
                                                     "such as the file's name")
    show.add_argument("--output", dest="to_path", metavar="FILE.png",
                      help="the picture (default: on the terminal if that shows pictures (kitty, Ghostty, WezTerm, iTerm2), else "
                           "NAME-labels.png here)")


def _add_weights(commands) -> None:
    weights = commands.add_parser(
        "weights", allow_abbrev=False, help="convert published weights for the native engine, and back",
        description="The native engine imports published weights by itself and keeps them in ~/.cache/labelbeam (or "
                    "$LABELBEAM_CACHE). These commands do it by hand, and write native networks as SavedModels.")
    directions = weights.add_subparsers(dest="direction", metavar="import|export", required=True)
    importing = directions.add_parser(
        "import", allow_abbrev=False, help="a SavedModel or a checkpoint to a .weights.h5 file",
        description="Reads every variable of a published SavedModel or checkpoint of the TF2 model zoo. Each must have its "
                    "place in the network, and each place must be filled; else nothing is written.")
    exporting = directions.add_parser(
        "export", allow_abbrev=False, help="a native network to a SavedModel that takes batches",
        description="Writes the native network with the published signature, for TF Serving or the engine saved_model. The "
                    "pictures of one call must have one size.")
    for parser, source, target in ((importing, "SAVED_MODEL_OR_CHECKPOINT", "FILE.weights.h5"),
                                   (exporting, "FILE.weights.h5", "FOLDER")):
        parser.add_argument("--detector", required=True, metavar="NAME_OR_YAML", help="whose weights they are")
        parser.add_argument("--from", required=True, dest="source", metavar=source, help="where they are")
        parser.add_argument("--to", required=True, dest="target", metavar=target, help="where they go")
        _add_verbose(parser)
    exporting.add_argument("--batch-size", type=_positive, metavar="N", help="pictures in each call (default: any number)")
    exporting.add_argument("--precision", choices=["float32", "bfloat16"], default="float32",
                           help="of the convolutions (default: %(default)s)")
    exporting.add_argument("--outputs", nargs="+", metavar="NAME", help="outputs of the signature (default: all)")


def _add_stage(commands) -> None:
    stage = commands.add_parser(
        "stage", allow_abbrev=False, help="put a detector where workers on other machines can read it",
        description="Copies a detector's weights, with a configuration that names them, into a store or onto a network disk, and "
                    "prints the command that uses them. What is there already isn't sent again. Beam's options for stores "
                    "(--s3_endpoint_url, …) may follow.")
    stage.add_argument("--to", required=True, metavar="FOLDER",
                       help="gs://, s3://, hdfs://, or a folder that workers have at the same path")
    _add_detector(stage)
    _add_weights_options(stage)
    _add_verbose(stage)


def _add_evaluate_and_compare(commands) -> None:
    evaluate = commands.add_parser(
        "evaluate", allow_abbrev=False, help="average precision of a labelling, given annotations",
        description="COCO's average precision and recall of a labelling, by pycocotools (pip install 'labelbeam[evaluate]'). "
                    "Annotated images that failed or are missing count, and are named.")
    evaluate.add_argument("output", metavar="OUT", help="output folder of `labelbeam label`")
    evaluate.add_argument("--annotations", required=True, metavar="FILE", help="instances.json in COCO's format")
    evaluate.add_argument("--per-class", action="store_true", help="a table of the classes as well")
    evaluate.add_argument("--match-classes", choices=["id", "name"], default="id",
                          help="a detection's category is the one with its class_id, or with its class_name "
                               "(default: %(default)s)")
    evaluate.add_argument("--image-ids", metavar="FILE",
                          help="CSV file with the columns uri and id (of the image in the annotations); without, an image "
                               "is the one whose file_name is the longest suffix of its path")
    evaluate.add_argument("--only-labelled", action="store_true",
                          help="leave annotated images without labels out, instead of counting them as empty")
    compare = commands.add_parser(
        "compare", allow_abbrev=False, help="what differs between two labellings of the same images",
        description="Two labellings of the same images: detections of one class that overlap are partners; what has none is lost "
                    "(only in A) or new (only in B). Agreement for each class, shifts of scores, the images that differ most.")
    compare.add_argument("a", metavar="A", help="output folder of `labelbeam label`")
    compare.add_argument("b", metavar="B", help="another one")
    compare.add_argument("--html", metavar="FILE", help="write a page with charts and pictures of both, all in one file")
    compare.add_argument("--min-iou", type=float, default=0.5, metavar="X",
                         help="partners overlap so much at least (default: %(default)s)")
    compare.add_argument("--min-score", type=float, default=0.0, metavar="S",
                         help="count only detections that score so much; their partners may score less (default: all that the "
                              "tables hold)")
    for parser in (evaluate, compare):
        parser.add_argument("--iou", choices=["bbox", "segm"], default="bbox", help="of boxes or of masks (default: %(default)s)")
        parser.add_argument("--json", metavar="FILE", help="write everything to this file, for programs")


def _add_export(commands) -> None:
    from .export import FORMATS
    export = commands.add_parser(
        "export", allow_abbrev=False, help="labels as files of other tools: COCO, YOLO, Pascal VOC, Label Studio, CVAT, …",
        description="Writes an output folder's labels in a format that labelling tools and training code import. Images that "
                    "failed are left out and counted; images without detections are kept. docs/export.md describes each format.")
    export.add_argument("output", metavar="OUT", help="output folder of `labelbeam label`")
    export.add_argument("--format", required=True, choices=list(FORMATS))
    export.add_argument("--to", required=True, dest="target", metavar="FOLDER_OR_FILE",
                        help="a new or empty folder, or a new file for formats that are one file; on this machine")
    export.add_argument("--min-score", type=float, default=0.0, metavar="S",
                        help="leave out detections with a lower score (default: none)")
    export.add_argument("--classes", nargs="+", metavar="NAME", help="only detections of these classes (default: all)")
    pictures = export.add_mutually_exclusive_group()
    pictures.add_argument("--copy-images", action="store_const", const="copy", dest="pictures",
                          help="copy the pictures into the export, from wherever they lie")
    pictures.add_argument("--link-images", action="store_const", const="link", dest="pictures",
                          help="symbolic links to the pictures instead, which must be files on this machine")
    export.add_argument("--polygon-tolerance-px", type=float, default=0.0, metavar="PX",
                        help="leave out points of polygons that are so near to the line without them; makes masks easier to "
                             "edit (default: every pixel is kept)")
    _add_verbose(export)


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="log what Beam and TensorFlow say")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which is very talkative
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO if getattr(args, "verbose", False) else logging.ERROR,
                        format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    if rest and args.command not in ("label", "stage", "estimate"):  # whose further options are Beam's
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _run(args, rest)
    except UsageError as error:
        print(f"labelbeam: {redact(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("labelbeam: interrupted. What finished parts hold is kept; the same command goes on from there.",
              file=sys.stderr)
        return 130


def _run(args: argparse.Namespace, rest: list[str]) -> int:
    if args.command == "detectors":
        from .list_detectors import list_detectors
        print(list_detectors())
        return 0
    if args.command == "demo":
        from .demo import run_demo
        return run_demo(args.output)
    if args.command == "estimate":
        from .estimate import run_estimate
        return run_estimate(args, rest)
    if args.command == "status":
        from .status import collect_status, describe_status
        status = collect_status(args.output)
        print(json.dumps(status, indent=1) if args.json else describe_status(status))
        return 0
    if args.command == "settle":
        from .settle import settle
        print(settle(args.output))
        return 0
    if args.command == "evaluate":
        from .evaluate import run_evaluate
        return run_evaluate(args)
    if args.command == "compare":
        from .compare import run_compare
        return run_compare(args)
    if args.command == "report":
        from .report import write_report
        print(write_report(args.output, args.to_path, args.seed))
        return 0
    if args.command == "show":
        from .show import show
        show(args.output, args.image, args.to_path)
        return 0
    if args.command == "weights":
        from .convert_weights import run_weights
        return run_weights(args)
    if args.command == "stage":
        from .stage import run_stage
        return run_stage(args, rest)
    if args.command == "export":
        from .export.run import ExportOptions, export
        summary = export(args.output, ExportOptions(args.format, args.target, args.min_score, args.classes, args.pictures,
                                                    args.polygon_tolerance_px))
        print(summary.describe())
        return 1 if summary.num_missing else 0
    from .label import run_label
    return run_label(args, rest)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text}")
    return seconds


def _price(text: str) -> float:
    price = float(text)
    if not (price >= 0 and math.isfinite(price)):
        raise argparse.ArgumentTypeError(f"expected a price, 0 or more, got {text}")
    return price


def _scheme(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", text):
        raise argparse.ArgumentTypeError(f"expected the name of a scheme, such as https; got {text!r}")
    return text.lower()


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


def _rgb(text: str) -> tuple[int, int, int]:
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 3 or not all(0 <= n <= 255 for n in numbers):
        raise argparse.ArgumentTypeError(f"expected three numbers from 0 to 255, such as 255,255,255; got {text!r}")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
