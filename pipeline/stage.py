"""`labelbeam stage`: puts a detector's weights, and a configuration that names them, where workers can read them.

    TO/NAME-FINGERPRINT/detector.yaml             written last: when it's there, everything is
    TO/NAME-FINGERPRINT/model/…                   a SavedModel, or
    TO/NAME-FINGERPRINT/published.weights.h5      the Keras engine's file

The folder is named for the weights' fingerprint and each file comes whole or not at all, so what is there with the
right size is what would be sent: the same command again goes on where it stopped.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..detectors.load import DetectorSpec
from ..detectors.weights.find import first_found
from ..storage import files as output_files
from ..storage.errors import UsageError
from ..storage.uris import absolute, is_local, join

CONFIG_FILE = "detector.yaml"
_SAVED_MODEL, _KERAS = "model", "published.weights.h5"


@dataclass(frozen=True)
class Staged:
    """What was put where: the configuration's path or URI, files and bytes in all, and how many files were sent now."""

    config: str
    files: int
    num_bytes: int
    sent: int


def stage(spec: DetectorSpec, to: str) -> Staged:
    """Puts a prepared detector below the folder `to`, a path or a store's URI.

    Raises:
      UsageError: if it can't be written there.
      OSError: if a store can't be reached.
    """
    folder = join(absolute(to), f"{spec.config.name}-{spec.fingerprint[:16]}")
    files = _files_of(spec)
    there = {}
    for pattern in sorted({os.path.dirname(name) for name in files}):
        there.update(output_files.list_sizes(join(folder, *filter(None, [pattern]), "*")))
    sent = 0
    try:
        for name, path in files.items():
            if there.get(target := join(folder, name)) != path.stat().st_size:
                output_files.write_atomically(target, path.read_bytes())
                sent += 1
        config = join(folder, CONFIG_FILE)
        output_files.write_atomically(config, _config_text(spec, config).encode())
    except OSError as error:
        if not is_local(to):
            raise
        raise UsageError(f"--to {to}: can't be written: {error.strerror or error}. Give another folder") from error
    return Staged(config, len(files), sum(path.stat().st_size for path in files.values()), sent)


def _files_of(spec: DetectorSpec) -> dict[str, Path]:
    """The weights' files: name in the staged folder -> file on this machine."""
    weights = first_found(spec.sources)
    if spec.engine == "keras":
        from ..detectors.keras.weights import find_weights_file

        return {_KERAS: Path(find_weights_file(spec.config.network, weights))}
    folder = Path(weights)
    return {
        f"{_SAVED_MODEL}/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _config_text(spec: DetectorSpec, where: str) -> str:
    """The YAML file: the detector's own, with these weights, for the engine that they were prepared for."""
    is_keras = spec.engine == "keras"
    config = dataclasses.replace(
        spec.config,
        weights=_KERAS if is_keras else _SAVED_MODEL,
        weights_sha256=spec.fingerprint,
        mirrors=(),
        engines=(spec.engine,),
        keras_network=spec.config.network if is_keras else None,
    )
    values = dataclasses.asdict(config, dict_factory=_plain)
    return (
        f"# labelbeam label --input … --output … --detector {where}{' --engine keras' * is_keras}\n"
        + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=130)
    )


def _plain(attributes: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dataclass's attributes as YAML has them: lists, and nothing for None."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in attributes if value is not None}
