"""What labelbeam uses of Beam's filesystems although Beam doesn't document it; docs/architecture.md says why."""

from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions


def test_the_options_that_beam_gave_its_filesystems_can_be_read(use_store_options):
    use_store_options(["--s3_endpoint_url=http://127.0.0.1:1"])
    assert FileSystems._pipeline_options.get_all_options()["s3_endpoint_url"] == "http://127.0.0.1:1"


def test_a_folder_is_listed_one_file_after_the_other(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"123")
    files = LocalFileSystem(PipelineOptions([]))._list(str(tmp_path))
    assert iter(files) is iter(files), "a generator"
    assert sorted((file.path, file.size_in_bytes) for file in files) == [
        (str(tmp_path / name), 3) for name in ("a", "b")
    ]
