"""The entry of Dataflow's Flex template: hands what the template's launcher was given to `labelbeam label`.

The launcher gives each parameter as `--name=value`, beside Beam's own options, `--template_location` among them: the
graph is built here, and Dataflow starts the job once this process has ended.
"""

import sys
from collections.abc import Sequence

from labelbeam.pipeline.cli import main
from labelbeam.pipeline.running.beam_flags import beam_flags


def command(given: Sequence[str]) -> list[str]:
    """The arguments of `labelbeam`. Parameters that are no options of Beam's are labelbeam's, with `_` for `-`; those
    that were left empty aren't given."""
    beams, own, of_beam = beam_flags(), [], []
    for option in given:
        name, equals, value = option.partition("=")
        if name in beams:
            # By Beam's other name for it: the launcher's are Dataflow's labels, not a label map.
            of_beam.append(f"--label={value}" if name == "--labels" else option)
        elif value or not equals:
            own.append(f"{name.replace('_', '-')}{equals}{value}")
    return ["label", "--runner-config", "dataflow_gpu", *own, *of_beam]


if __name__ == "__main__":
    sys.exit(main(command(sys.argv[1:])))
