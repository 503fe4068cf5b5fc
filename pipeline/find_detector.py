"""From what a command says of a detector to one that is prepared; its configuration and its weights may lie in a store.

The configuration is read here, once. The weights are looked at here, in the machine's cache, and named to the workers
as they were given, so that each machine fetches them itself (`detectors/weights/find.py`).
"""

from dataclasses import replace

from ..detectors.config import DetectorConfig, load_config, parse_config
from ..detectors.load import DetectorSpec, prepare
from ..detectors.weights.kaggle import canonical
from ..storage import files as output_files
from ..storage.errors import ConfigError


def find_detector(name_or_yaml: str, *, weights: str | None = None, **options) -> DetectorSpec:
    """Finds a configuration and its weights, and prepares the detector.

    Args:
      name_or_yaml: a name that `labelbeam detectors` lists; the path of a YAML file; or the URI of one in a store.
      weights: instead of the configuration's.
      options: of `detectors.load.prepare`.

    Raises:
      UsageError: as `prepare`; or if the configuration can't be read.
    """
    config = read_config(name_or_yaml)
    if weights is not None:
        config = replace(config, weights=canonical(weights), weights_sha256=None, mirrors=())
    return prepare(config, **options)


def read_config(name_or_yaml: str) -> DetectorConfig:
    """Reads a configuration; see `find_detector`."""
    if "://" not in name_or_yaml:
        return load_config(name_or_yaml)
    try:
        content = output_files.read(name_or_yaml)
    except FileNotFoundError as error:
        raise ConfigError(f"detector configuration {name_or_yaml}: there's no such object") from error
    except ValueError as error:  # of Beam's filesystems: no such scheme
        raise ConfigError(f"detector configuration {name_or_yaml}: can't be read: {error}") from error
    return parse_config(content, name_or_yaml)
