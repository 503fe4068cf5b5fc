"""`labelbeam weights import | export`: between what is published and the native networks."""
import argparse

from ..detectors.config import load_config
from ..detectors.errors import UsageError


def run_weights(args: argparse.Namespace) -> int:
    """Converts weights and prints what came of it; returns the exit code.

    Raises:
      UsageError: if the detector has no native network, or the weights aren't its.
    """
    config = load_config(args.detector)
    if config.native_network is None:
        raise UsageError(f"--detector {args.detector}: it has no native network, so there's nothing to convert")
    from ..detectors.native import export, weights  # Keras and TensorFlow, for which one waits
    if args.direction == "import":
        fingerprint = weights.import_weights(config.native_network, weights.find_source(args.source), args.target)
        print(f"{args.target}: weights of {config.native_network}, SHA-256 {fingerprint}\n"
              f"use them    labelbeam label --detector {args.detector} --engine native --weights {args.target} …")
        return 0
    export.export_saved_model(config.native_network, weights.find_weights_file(config.native_network, args.source),
                              args.target, batch_size=args.batch_size, precision=args.precision, outputs=args.outputs)
    print(f"{args.target}: a SavedModel that takes {args.batch_size or 'any number of'} pictures a call\n"
          f"use it      labelbeam label --detector {args.detector} --engine saved_model --weights {args.target} …")
    return 0
