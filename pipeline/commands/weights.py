"""`labelbeam weights import | export`: between what is published and the Keras networks."""

import argparse

from ...detectors.config import load_config


def run_weights(args: argparse.Namespace) -> int:
    """Converts weights and prints what came of it; returns the exit code.

    Raises:
      UsageError: if the detector has no Keras network (`ConfigError`), or the weights aren't its.
    """
    config = load_config(args.detector)
    from ...detectors.keras import export, weights

    if args.direction == "import":
        fingerprint = weights.import_weights(config.network, weights.find_source(args.source), args.target)
        print(
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
    print(
        f"{args.target}: a SavedModel that takes {args.batch_size or 'any number of'} images a call\n"
        f"use it      labelbeam label --detector {args.detector} --engine saved_model --weights {args.target} …"
    )
    return 0
