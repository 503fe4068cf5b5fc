"""Jobs of one output folder, step by step: real code of labelset against a store in memory, in any order.

Each access to the store is a step. A job that gets no more steps is dead, or asleep. After each step that changes the
store, what must hold is checked, by a reading of the log that is the test's own.
"""

import contextlib
import io
import json
import threading
from collections import Counter
from fnmatch import fnmatchcase

import pyarrow.parquet as pq
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.close import close_job, gather, replaced
from labelbeam.labelset.compact import compact_parts
from labelbeam.labelset.label_set_file import LabelSet
from labelbeam.labelset.log import JobLostError
from labelbeam.labelset.parts import new_stem, write_part
from labelbeam.storage.file_info import FileInfo

from tests.fakes.folders_of_parts import part_tables

OUT = "mem://out"
IMAGES = "ab"
LABEL_SET = LabelSet({"detector": "fake"})
TABLES = {name: part_tables([name], tables=("images",)) for name in IMAGES}


class Violation(AssertionError):
    pass


class Stopped(BaseException):
    """Ends an actor's thread when the test is over."""


class MemoryStore:
    """Stands for `storage.files`; each call is a step of the actor whose thread makes it."""

    def __init__(self, step=lambda: None):
        self.files = {}
        self.images = {}  # by stem
        self.counted = set()
        self._step = step

    def read(self, path):
        self._step()
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def open_table(self, path):
        return io.BytesIO(self.read(path))

    def write_atomically(self, path, data):
        self._step()
        self._put(path, bytes(data))

    def write_together(self, files):
        for path, data in files:
            self.write_atomically(path, data)

    def create_exclusive(self, path, data):
        self._step()
        if path in self.files:
            return False
        self._put(path, bytes(data))
        return True

    def delete(self, paths):
        for path in paths:
            self._step()
            if self.files.pop(path, None) is not None:
                self.check()

    def list_below(self, folder, recursive=True):
        self._step()
        start = folder.rstrip("/") + "/"
        return [
            FileInfo(path, len(data))
            for path, data in self.files.items()
            if path.startswith(start) and (recursive or "/" not in path[len(start) :])
        ]

    def list_sizes(self, pattern):
        folder, _, name = pattern.rpartition("/")
        return {
            file.path: file.size_in_bytes
            for file in self.list_below(folder, recursive=False)
            if fnmatchcase(file.path.rpartition("/")[2], name)
        }

    def list_files(self, pattern):
        return sorted(self.list_sizes(pattern))

    def _put(self, path, data):
        self.files[path] = data
        if path.startswith(f"{OUT}/images/"):
            names = pq.read_table(io.BytesIO(data), columns=["uri"])["uri"].to_pylist()
            self.images[stem_of(path)] = [name.rpartition("/")[2][0] for name in names]
        self.check()

    def counting(self):
        """Stems that count, by a reading of the log of the test's own; and the last entry."""
        stems, last = set(), {}
        for path in sorted(p for p in self.files if p.startswith(f"{OUT}/_log/0") and p.endswith(".json")):
            last = json.loads(self.files[path])
            rows = []
            if "parts" in last and f"{OUT}/_log/{last['parts']}" in self.files:
                rows = pq.read_table(io.BytesIO(self.files[f"{OUT}/_log/{last['parts']}"])).to_pylist()
            named = {row["stem"] for row in rows if row["counts"]}
            stems = named if last["entry"] == "close" else stems | named
        return stems, last

    def check(self):
        stems, last = self.counting()
        there = {stem_of(path) for path in self.files if path.startswith(f"{OUT}/images/")}
        if not stems <= there:
            raise Violation("a part that counts doesn't exist")
        images = Counter(name for stem in stems for name in self.images[stem])
        if any(number > 1 for number in images.values()):
            raise Violation("an image counts twice")
        if not self.counted <= images.keys():
            raise Violation("an image that has counted doesn't any more")
        if last.get("entry") == "close" and set(images) != set(IMAGES):
            raise Violation("closed, but not every image counts")
        self.counted = set(images)


def stem_of(path):
    return path.rpartition("/")[2].removesuffix(".parquet")


class Play:
    """Actors that take steps when told to.

    Args:
      monkeypatch: puts the store in place of the files.
      actors: functions, each run in a thread of its own.
    """

    def __init__(self, monkeypatch, *actors):
        from labelbeam.storage import files

        self.store = MemoryStore(self._step)
        for name in ("read", "open_table", "write_atomically", "write_together", "create_exclusive", "delete"):
            monkeypatch.setattr(files, name, getattr(self.store, name))
        for name in ("list_below", "list_sizes", "list_files"):
            monkeypatch.setattr(files, name, getattr(self.store, name))
        self.steps = Counter()
        self._actors = actors
        self._may_step = [threading.Semaphore(0) for _ in actors]
        self._waits = [threading.Semaphore(0) for _ in actors]
        self._ended = [False] * len(actors)
        self._over = False
        self._errors = []
        self._threads = [threading.Thread(target=self._run, args=(i,), name=str(i)) for i in range(len(actors))]
        for thread in self._threads:
            thread.start()
        for waits in self._waits:
            waits.acquire()

    def run(self, actor, steps=10_000):
        """Lets one actor take steps, until it ends; returns whether it has."""
        while steps and not self._ended[actor]:
            steps -= 1
            self.steps[actor] += 1
            self._may_step[actor].release()
            self._waits[actor].acquire()
            if self._errors:
                raise self._errors[0]
        return self._ended[actor]

    def close(self):
        self._over = True
        for may_step in self._may_step:
            may_step.release()
        for thread in self._threads:
            thread.join()

    def _run(self, number):
        with contextlib.suppress(Stopped):
            try:
                self._step()
                self._actors[number]()
            except Exception as error:
                self._errors.append(Violation(f"a job failed: {error!r}"))
        self._ended[number] = True
        self._waits[number].release()

    def _step(self):
        number = int(threading.current_thread().name)
        self._waits[number].release()
        self._may_step[number].acquire()
        if self._over:
            raise Stopped


def job(job_id, twice=False, on_begin=lambda begun, todo: None, again=False):
    """An actor: a whole job, which writes a part an image, perhaps twice, and compacts all into one.

    Args:
      again: whether it labels images that have a row as well.
      on_begin: is told of the begun job, and which images it labels.
    """

    def act():
        begun = begin_job(OUT, job_id, LABEL_SET, dead_after_s=0, may_repeat=again)
        with contextlib.suppress(JobLostError):
            with begun.reading():
                state = begun.state()
                held = {name for stem in [*state.parts, *state.adopted] for name in images_of(stem)}
            reported, todo = [], [name for name in IMAGES if again or name not in held]
            on_begin(begun, todo)
            for name in todo:
                begun.check_open()
                begun.bind()
                for _ in range(1 + twice):
                    reported.append(write_part(OUT, new_stem(job_id), TABLES[name]))
            parts = gather(begun, reported, agree=not (twice or again)).parts
            if parts:
                group = list(parts.values())
                with begun.reading():
                    merged = compact_parts(OUT, job_id, group)
                parts = replaced(parts, [([part.stem for part in group], merged)])
            close_job(begun, "complete", parts)

    def images_of(stem):
        from labelbeam.labelset.parts import read_part

        uris = read_part(OUT, stem, "images", ["uri"])["uri"].to_pylist()
        return {uri.rpartition("/")[2][0] for uri in uris}

    return act


def stray(told):
    """An actor: a worker of a job that wakes and writes without another look at the log.

    Args:
      told: what the job's `on_begin` was told; nothing is written before.
    """

    def act():
        for begun, todo in told:
            begun.bind()
            for name in todo:
                write_part(OUT, new_stem(begun.job_id), TABLES[name])

    return act
