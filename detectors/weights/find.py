"""From what a user names as weights to a folder or file of this machine.

    kaggle://…, a handle of Kaggle's, the URL of its page     kagglehub's cache
    https://….tar.gz, .zip                                    downloaded once, unpacked
    https://… else                                            a handle of TF Hub's, tensorflow_hub's cache
    s3://, gs://, az://, hdfs://                              fetched once, whatever it is
    a path                                                    as it is; archives are unpacked once

Whatever it was, `model_in` then finds the model in it.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ...storage.errors import WeightsError
from ...storage.installation import cache_folder
from ...storage.redaction import redact
from ...storage.uris import is_http, is_local
from . import hub, kaggle, stores
from .archives import is_archive, unpack
from .download import download
from .locks import locked
from .model_in import model_in
from .source import WeightsSource


@contextlib.contextmanager
def local_weights(sources: Sequence[WeightsSource]) -> Iterator[str]:
    """The weights on this machine, of the first source that has them, for use within the context.

    What was fetched into labelbeam's cache and is refused within the context (`WeightsError`) isn't found again.

    Raises:
      WeightsError: names every source and why it was of no use.
      UsageError, OSError: if a store refuses, or can't be reached.
    """
    path = first_found(sources)
    try:
        yield path
    except WeightsError:
        cache = cache_folder() / "weights"
        if cache in Path(path).parents:
            shutil.rmtree(cache / Path(path).relative_to(cache).parts[0], ignore_errors=True)
        raise


def first_found(sources: Sequence[WeightsSource]) -> str:
    """See `local_weights`."""
    problems = []
    for source in sources:
        try:
            return find(source)
        except WeightsError as error:
            if len(sources) == 1:
                raise
            problems.append(error)
    reasons = "; ".join(f"({i}) {str(problem).removeprefix('weights ')}" for i, problem in enumerate(problems, 1))
    raise WeightsError(f"weights: none of the {len(problems)} sources has them: {reasons}")


def find(source: WeightsSource) -> str:
    """The path of one source's model, fetched and unpacked where needed.

    Raises:
      WeightsError: if it can't be fetched, isn't the expected one, or isn't a model.
    """
    weights = kaggle.canonical(source.uri)
    what = f"weights {redact(weights)}"
    return hub.without_pattern(model_in(_fetched(weights, source.sha256, what), what))


def _fetched(weights: str, sha256: str | None, what: str) -> str:
    if weights.startswith(kaggle.SCHEME):
        return kaggle.fetch(weights)
    if is_http(weights):
        return _unpacked(weights, sha256, what) if is_archive(weights) else hub.resolve(weights)
    path = weights if is_local(weights) else stores.local_copy(weights)
    return unpack(Path(path), what) if is_archive(path) and Path(path).is_file() else path


def _unpacked(url: str, sha256: str | None, what: str) -> str:
    """The folder of an archive's files, downloaded where it isn't there; one that can't be unpacked isn't kept."""
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = cache_folder() / "downloads" / key / Path(urlsplit(url).path).name
    with locked(path.parent):
        if not path.exists():
            download(url, path, sha256)
    try:
        return unpack(path, what)
    except WeightsError:
        path.unlink(missing_ok=True)
        raise
