"""AskVersions: whether an image that has a row has been replaced since, by what its storage says of its file."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from ..storage import files, http_client
from ..storage.file_info import FileVersion
from ..storage.read_options import ReadOptions
from ..storage.read_policy import check_scheme
from ..storage.uris import is_http, is_local, scheme_of
from .elements import ImageReference
from .fetch.read_bytes import local_path
from .sources import containers
from .workers.driver_link import DriverLink

_THREADS = 32  # requests at once, beside the limits of each host


class RowVersion(NamedTuple):
    """What a row of `images` says of the file that was labelled, with when that was, in microseconds since 1970."""

    num_bytes: int | None
    modified_us: int | None
    etag: str | None
    labelled_us: int


def has_changed(now: FileVersion, row: RowVersion) -> bool | None:
    """Whether a file isn't the one that a row was made of; None if that can't be told.

    Tags decide, where both have one; else sizes and times of the last change. A row without either, of an older
    labelbeam or of a file that wasn't there, is older than a file that was changed later than the row was made.
    """
    if now.etag is not None and row.etag is not None:
        return now.etag != row.etag
    if now.num_bytes is not None and row.num_bytes is not None and now.num_bytes != row.num_bytes:
        return True
    if now.modified_us is None:
        return None
    if row.modified_us is None:
        return now.modified_us > row.labelled_us
    times = now.modified_us, row.modified_us
    if any(time % 1_000_000 == 0 for time in times):  # one of them may be told in whole seconds
        times = tuple(time // 1_000_000 for time in times)
    return times[0] != times[1]


class AskVersions(beam.PTransform):
    """ImageReferences in, the same out, each with the version of its file if that can be asked for.

    Disks are asked in place; stores and servers, one HEAD request an image, in threads. What a listing has told already
    isn't asked again, and a container is asked once for its members.

    Args:
      options: limits and retry policy.
      link: tells when the job is to stop; nothing is asked then.
    """

    def __init__(self, options: ReadOptions, link: DriverLink = DriverLink()):
        super().__init__()
        self._options = options
        self._link = link

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[ImageReference]:
        ask = beam.ParDo(_AskFn(self._options, self._link)).with_output_types(ImageReference)
        return references | ask  # pyright: ignore[reportReturnType]  # its annotation says PValue


class _AskFn(beam.DoFn):
    def __init__(self, options: ReadOptions, link: DriverLink):
        self._options = options
        self._link = link

    def setup(self):
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="labelbeam-versions")
        self._stop = self._link.stop_check()

    def start_bundle(self):
        self._asked: deque[Future[ImageReference]] = deque()
        self._container, self._container_version = "", FileVersion()

    def process(self, reference: ImageReference) -> Iterator[ImageReference]:
        if reference.location is not None:
            if reference.location.container != self._container:
                self._container = reference.location.container
                self._container_version = containers.version_of(self._container, self._options)
            yield replace(reference, version=self._container_version)
        elif reference.version is not None or reference.problem or is_local(reference.uri):
            yield self._with_version(reference)
        else:
            self._asked.append(self._threads.submit(self._with_version, reference))
            while len(self._asked) > 4 * _THREADS or (self._asked and self._asked[0].done()):
                yield self._asked.popleft().result()

    def finish_bundle(self):
        while self._asked:
            yield GlobalWindows.windowed_value_at_end_of_window(self._asked.popleft().result())

    def teardown(self):
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _with_version(self, reference: ImageReference) -> ImageReference:
        if reference.version is not None or reference.problem or self._stop():
            return reference
        try:
            return replace(reference, version=_version_of(reference.uri, self._options))
        except Exception:  # each filesystem's client has classes of its own; the join counts what isn't known
            return reference


def _version_of(uri: str, options: ReadOptions) -> FileVersion:
    check_scheme(scheme_of(uri), options.allow_schemes)
    if is_http(uri):
        return http_client.head(uri, options)
    return files.version_of(local_path(uri), options)
