"""Options that name a detector, and the commands that only handle its weights, `weights` and `stage`."""

import argparse

from .values import positive


def add_weights(commands) -> None:
    weights = commands.add_parser(
        "weights",
        allow_abbrev=False,
        help="convert published weights for the Keras engine, and back",
        description="The Keras engine imports published weights by itself and keeps them in ~/.cache/labelbeam (or "
        "$LABELBEAM_CACHE). These commands do it by hand, and write Keras networks as SavedModels.",
    )
    directions = weights.add_subparsers(dest="direction", metavar="import|export", required=True)
    importing = directions.add_parser(
        "import",
        allow_abbrev=False,
        help="a SavedModel or a checkpoint to a .weights.h5 file",
        description="Reads every variable of a published SavedModel or checkpoint of the TF2 model zoo. Each must have its "
        "place in the network, and each place must be filled; else nothing is written.",
    )
    exporting = directions.add_parser(
        "export",
        allow_abbrev=False,
        help="a Keras network to a SavedModel that takes batches",
        description="Writes the Keras network with the published signature, for TF Serving or the engine saved_model. The "
        "images of one call must have one size.",
    )
    for parser, source, target in (
        (importing, "SAVED_MODEL_OR_CHECKPOINT", "FILE.weights.h5"),
        (exporting, "FILE.weights.h5", "FOLDER"),
    ):
        parser.add_argument("--detector", required=True, metavar="NAME_OR_YAML", help="whose weights they are")
        parser.add_argument("--from", required=True, dest="source", metavar=source, help="where they are")
        parser.add_argument("--to", required=True, dest="target", metavar=target, help="where they go")
        add_verbose(parser)
    exporting.add_argument("--batch-size", type=positive, metavar="N", help="images in each call (default: any number)")
    exporting.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the convolutions (default: %(default)s)",
    )
    exporting.add_argument("--outputs", nargs="+", metavar="NAME", help="outputs of the signature (default: all)")


def add_stage(commands) -> None:
    stage = commands.add_parser(
        "stage",
        allow_abbrev=False,
        help="put a detector where workers on other machines can read it",
        description="Copies a detector's weights, with a configuration that names them, into a store or onto a network disk, and "
        "prints the command that uses them. What is there already isn't sent again. Beam's options for stores "
        "(--s3_endpoint_url, …) may follow.",
    )
    stage.add_argument(
        "--to",
        required=True,
        metavar="FOLDER",
        help="gs://, s3://, hdfs://, or a folder that workers have at the same path",
    )
    add_detector(stage)
    add_weights_options(stage)
    add_verbose(stage)


def add_detector(parser) -> None:
    parser.add_argument(
        "--detector",
        required=True,
        metavar="NAME_OR_YAML",
        help="a name that `labelbeam detectors` lists, or a YAML file of the same form, also in a store",
    )


def add_weights_options(parser) -> None:
    parser.add_argument(
        "--weights",
        metavar="HANDLE_OR_FOLDER",
        help="TF Hub handle or folder of a SavedModel, instead of the configuration's; for the Keras engine also "
        "a checkpoint (FOLDER/ckpt-0) or a file of `labelbeam weights import`",
    )
    parser.add_argument(
        "--engine",
        choices=["saved_model", "keras"],
        default="saved_model",
        help="saved_model: the published graph as it is; native: labelbeam's own network (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the Keras engine's convolutions (default: %(default)s)",
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="log what Beam and TensorFlow say")
