"""Presets of runners: one YAML file with a list of Beam's options, read strictly; what the command line says wins.

A name such as `multi_process` finds `configs/runners/multi_process.yaml` of the package; a path to one's own file
works as well. Whether Beam knows the options is found out where they are parsed: `beam_options.py`.
"""

from dataclasses import dataclass

from ...detectors.shipped_configs import find_config
from ...detectors.strict_yaml import build, read_mapping
from ...storage.errors import ConfigError

DEFAULT = "in_process"


@dataclass(frozen=True)
class RunnerConfig:
    """One runner with its settings, as the YAML file describes it. Keys of the file are the attributes' names.

    Attributes:
      description: one line.
      options: Beam's options, each `--name=value` or, for a switch, `--name`; `--runner` is among them.
    """

    description: str
    options: tuple[str, ...]

    def __post_init__(self):
        for option in self.options:
            if not option.startswith("--") or " " in option.partition("=")[0]:
                raise ConfigError(f"options: expected --name=value or --name, got {option!r}")
        if not any(option.startswith("--runner=") for option in self.options):
            raise ConfigError("options: --runner=NAME is missing; expected for instance --runner=FlinkRunner")


def load_runner_config(name_or_yaml: str = DEFAULT) -> RunnerConfig:
    """Reads a preset.

    Args:
      name_or_yaml: a name of `shipped_names("runners")`, or the path of a YAML file.

    Raises:
      ConfigError: if there's no such preset, or it has an unknown key, a missing key or a wrong type.
    """
    path = find_config("runners", name_or_yaml, "--runner-config")
    values = read_mapping(path)
    try:
        return build(RunnerConfig, values, str(path))
    except ConfigError as error:
        if str(error).startswith(str(path)):
            raise
        raise ConfigError(f"{path}: {error}") from error
