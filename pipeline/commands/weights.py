"""`labelbeam weights import | export`: between what is published and the Keras networks."""

import argparse

from ..arguments.common import add_verbose, positive
from ..streams import say


def add_parser(commands) -> None:
    weights = commands.add_parser(
        "weights",
        help="convert published weights for the Keras engine, and back",
        description="The Keras engine imports published weights by itself and keeps them in ~/.cache/labelbeam (or\n"
        "$LABELBEAM_CACHE). These commands do it by hand, and write Keras networks as SavedModels.",
        epilog="examples:\n"
        "  labelbeam weights import --detector centernet_resnet50v2_512x512 --from ckpt-0 --to centernet.weights.h5\n"
        "  labelbeam weights export --detector centernet_resnet50v2_512x512 --from centernet.weights.h5 --to served/",
    )
    directions = weights.add_subparsers(dest="direction", metavar="import|export", required=True)
    importing = directions.add_parser(
        "import",
        help="a SavedModel or a checkpoint to a .weights.h5 file",
        description="Reads every variable of a published SavedModel or checkpoint of the TF2 model zoo. Each must\n"
        "have its place in the network, and each place must be filled; else nothing is written.",
    )
    exporting = directions.add_parser(
        "export",
        help="a Keras network to a SavedModel that takes batches",
        description="Writes the Keras network with the published signature, for TF Serving or the engine saved_model.\n"
        "The images of one call must have one size.",
    )
    for parser, source, target in (
        (importing, "SAVED_MODEL_OR_CHECKPOINT", "FILE.weights.h5"),
        (exporting, "FILE.weights.h5", "FOLDER"),
    ):
        parser.add_argument("--detector", required=True, metavar="NAME_OR_YAML", help="whose weights they are")
        parser.add_argument("--from", required=True, dest="source", metavar=source, help="where they are")
        parser.add_argument("--to", required=True, dest="target", metavar=target, help="where they go")
        add_verbose(parser)
        parser.set_defaults(run=run)
    exporting.add_argument("--batch-size", type=positive, metavar="N", help="images in each call (default: any number)")
    exporting.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the convolutions (default: %(default)s)",
    )
    exporting.add_argument("--outputs", nargs="+", metavar="NAME", help="outputs of the signature (default: all)")


def run(args: argparse.Namespace) -> int:
    from ...detectors.config import load_config

    config = load_config(args.detector)
    from ...detectors.keras import export, weights
    from ...detectors.weights.find import first_found
    from ...detectors.weights.source import WeightsSource

    if args.direction == "import":
        source = first_found([WeightsSource(args.source)])
        fingerprint = weights.import_weights(config.network, source, args.target)
        say(
            f"{args.target}: weights of {config.network}, SHA-256 {fingerprint}\n"
            f"use them    labelbeam label --detector {args.detector} --engine keras --weights {args.target} …"
        )
        return 0
    export.export_saved_model(
        config.network,
        weights.find_weights_file(config.network, args.source),
        args.target,
        batch_size=args.batch_size,
        precision=args.precision,
        outputs=args.outputs,
    )
    say(
        f"{args.target}: a SavedModel that takes {args.batch_size or 'any number of'} images a call\n"
        f"use it      labelbeam label --detector {args.detector} --engine saved_model --weights {args.target} …"
    )
    return 0
