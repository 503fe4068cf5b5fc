import os

import pytest
from labelbeam.storage import files as output_files


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
