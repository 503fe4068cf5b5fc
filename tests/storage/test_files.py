import contextlib
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from labelbeam.storage import files as output_files

from tests.fakes.filesystems import ObjectStore, rooted


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file.bin"
    output_files.write_atomically(str(path), b"one")
    output_files.write_atomically(str(path), memoryview(b"two"))
    assert path.read_bytes() == b"two" == output_files.read(str(path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        output_files.write_atomically(str(path), b"three")
    assert path.read_bytes() == b"two" and os.listdir(path.parent) == ["file.bin"]


def test_temporary_names_match_no_readers_glob(tmp_path, monkeypatch):
    seen = []
    replace = os.replace

    def spy(source, target):
        seen.extend(output_files.list_files(str(tmp_path / "*.parquet")))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    output_files.write_atomically(str(tmp_path / "part-1.parquet"), b"x")
    assert seen == []
    assert output_files.list_files(str(tmp_path / "*.parquet")) == [str(tmp_path / "part-1.parquet")]


def test_what_is_not_there(tmp_path):
    assert output_files.list_files(str(tmp_path / "no" / "such" / "*.parquet")) == []
    with pytest.raises(FileNotFoundError):
        output_files.read(str(tmp_path / "absent"))


def test_create_exclusive_makes_a_file_once(tmp_path):
    path = str(tmp_path / "log" / "00000001.json")
    assert output_files.create_exclusive(path, b"one")
    assert not output_files.create_exclusive(path, memoryview(b"two"))
    assert output_files.read(path) == b"one" and os.listdir(tmp_path / "log") == ["00000001.json"]


def test_of_many_who_create_a_file_at_once_one_does(tmp_path):
    path = str(tmp_path / "00000001.json")
    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(lambda i: output_files.create_exclusive(path, b"%d" % i), range(64)))
    assert sum(created) == 1
    assert output_files.read(path) == b"%d" % created.index(True)


def test_create_exclusive_through_beam(tmp_path):
    with rooted(ObjectStore, tmp_path) as root:
        assert output_files.create_exclusive(f"{root}/b/1.json", b"one")
        assert not output_files.create_exclusive(f"{root}/b/1.json", b"two")
        assert output_files.read(f"{root}/b/1.json") == b"one"


@pytest.mark.parametrize("folder", ["plain", "with [1] ? and *"])
def test_list_below_takes_a_folder_literally(tmp_path, folder):
    (tmp_path / folder / "a" / "b").mkdir(parents=True)
    (tmp_path / "with [1] ? and x").mkdir()
    for name in ("1.json", ".hidden", "a/b/2.json"):
        (tmp_path / folder / name).write_bytes(b"xyz")
    (tmp_path / "with [1] ? and x" / "other").write_bytes(b"")
    with rooted(ObjectStore, tmp_path) as root:
        for place in (str(tmp_path), root):
            found = {file.path: file.size_in_bytes for file in output_files.list_below(f"{place}/{folder}")}
            assert found == {f"{place}/{folder}/{name}": 3 for name in ("1.json", ".hidden", "a/b/2.json")}
            flat = [file.path for file in output_files.list_below(f"{place}/{folder}/", recursive=False)]
            assert sorted(flat) == sorted(f"{place}/{folder}/{name}" for name in ("1.json", ".hidden"))
    assert output_files.list_files(str(tmp_path / folder / "*.json")) == [str(tmp_path / folder / "1.json")]
    assert list(output_files.list_below(str(tmp_path / "missing"))) == []


def test_local_files_need_neither_beam_nor_tensorflow(tmp_path):
    script = f"""
import sys
from labelbeam.storage import files
files.write_atomically({str(tmp_path / "a")!r}, b"x")
files.create_exclusive({str(tmp_path / "b")!r}, b"x")
assert len(list(files.list_below({str(tmp_path)!r}))) == 2
assert not {{"apache_beam", "tensorflow"}} & set(sys.modules), "imported"
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_where_too_many_files_are_open_it_waits_until_some_are_closed(tmp_path):
    path, spare = str(tmp_path / "file"), []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.open("/dev/null", os.O_RDONLY))
        threading.Timer(0.1, lambda: [os.close(number) for number in spare]).start()
        output_files.write_atomically(path, b"whole")
        assert output_files.read(path) == b"whole"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
