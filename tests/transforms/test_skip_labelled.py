import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to
from labelbeam.labelset.begin import OpenJob, begin_job
from labelbeam.labelset.parts import ids_sum
from labelbeam.labelset.rows import image_id
from labelbeam.transforms import packs
from labelbeam.transforms.elements import ImageReference, MemberLocation
from labelbeam.transforms.skip_labelled import DistinctImages, ListedCounts, SkipLabelled
from labelbeam.transforms.workers.driver_link import Counts, DriverLink, TallyReader

from tests.fakes.folders_of_parts import put_part


def references(*names):
    return [ImageReference(f"/images/{name}.jpg") for name in names]


def write_part(folder, stem, *names):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    ids = [reference.image_id for reference in references(*names)]
    pq.write_table(pa.table({"image_id": ids}), folder / "images" / f"{stem}.parquet")


def assert_skips(listed, output, expected, counts, limit=None, retry=()):
    counts = counts._replace(ids_sum=ids_sum(reference.image_id for reference in expected))
    with beam.Pipeline(runner="FnApiRunner") as p:
        todo = p | beam.Create(listed, reshuffle=False) | SkipLabelled(output and str(output), limit, retry=retry)
        assert_that(
            todo["references"] | beam.Map(lambda r: r.uri), equal_to([r.uri for r in expected]), label="references"
        )
        assert_that(todo["counts"], equal_to([counts]), label="counts")


def test_nothing_labelled_yet(tmp_path):
    assert_skips(
        references("a", "b", "a", "c", "a"), tmp_path / "absent", references("a", "b", "c"), ListedCounts(3, 0)
    )


def test_images_of_finished_parts_are_skipped(tmp_path):
    write_part(tmp_path, "part-1", "a", "old")
    write_part(tmp_path, "part-2", "c")
    (tmp_path / "images" / ".part-3.parquet.1234.tmp").write_bytes(b"not finished")
    assert_skips(references("a", "b", "c", "b"), tmp_path, references("b"), ListedCounts(3, 2))


def test_a_job_is_kept_alive_by_who_reads_ids_and_who_compares(tmp_path, monkeypatch):
    write_part(tmp_path, "part-1", "a")
    attended = []
    monkeypatch.setattr(OpenJob, "attend", lambda job: attended.append(job.job_id))
    job = begin_job(str(tmp_path), "j")
    with beam.Pipeline(runner="FnApiRunner") as p:
        todo = p | beam.Create(references("a", "b"), reshuffle=False) | SkipLabelled(job)
        assert_that(todo["counts"], equal_to([ListedCounts(2, 1, ids_sum([references("b")[0].image_id]))]))
    assert attended == ["j", "j"]


def test_everything_labelled_and_nothing_listed(tmp_path):
    write_part(tmp_path, "part-1", "a")
    assert_skips(references("a"), tmp_path, [], ListedCounts(1, 1))
    assert_skips([], tmp_path, [], ListedCounts(0, 0))


@pytest.mark.heavy
def test_what_failed_with_certain_kinds_is_labelled_again(tmp_path):
    (tmp_path / "images").mkdir()
    kinds = {"ok": None, "slow": "timeout", "gone": "not_found"}
    pq.write_table(
        pa.table(
            {
                "image_id": [image_id(f"/images/{name}.jpg") for name in kinds],
                "error_kind": pa.array(kinds.values(), pa.string()),
            }
        ),
        tmp_path / "images" / "part-1.parquet",
    )
    listed = references("ok", "slow", "gone", "new")
    assert_skips(listed, tmp_path, references("new"), ListedCounts(4, 3, failed_earlier=2))
    assert_skips(
        listed,
        tmp_path,
        references("slow", "new"),
        ListedCounts(4, 2, failed_earlier=1),
        retry=["timeout", "forbidden"],
    )
    assert_skips(
        listed, tmp_path, references("slow", "gone", "new"), ListedCounts(4, 1), retry=["timeout", "not_found"]
    )


def test_limit_takes_the_smallest_ids_of_the_distinct_images(tmp_path):
    listed = references(*"abcdefgh", *"abcdefgh")
    smallest = sorted(references(*"abcdefgh"), key=lambda r: r.image_id)[:3]
    assert_skips(listed, None, smallest, ListedCounts(3, 0), limit=3)


@pytest.mark.heavy
def test_more_images_than_are_packed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "ELEMENTS_AT_ONCE", 100)
    names = [str(number) for number in range(1000)]
    write_part(tmp_path, "part-1", *names[:700])
    assert_skips(references(*names, *names[::-1]), tmp_path, references(*names[700:]), ListedCounts(1000, 700))


@pytest.mark.heavy
def test_limit_with_many_more_images_than_it_takes(tmp_path):
    names = [str(number) for number in range(5000)]
    smallest = sorted(references(*names), key=lambda r: r.image_id)[:2]
    assert_skips(references(*names, *names), tmp_path, smallest, ListedCounts(2, 0), limit=2)


def test_images_listed_and_passed_over_are_told(tmp_path):
    write_part(tmp_path, "part-1", "a", "old")
    link = DriverLink(str(tmp_path / "link"))
    (tmp_path / "link").mkdir()
    with beam.Pipeline(runner="FnApiRunner") as p:
        _ = p | beam.Create(references("a", "b", "c", "b")) | SkipLabelled(str(tmp_path), link=link)
    assert TallyReader(link).read() == Counts(listed=3, passed_over=1)


def test_a_reference_keeps_where_its_bytes_lie():
    inside = ImageReference("/a.tar#x.jpg", MemberLocation("/a.tar", "tar", 512, 10))
    with beam.Pipeline(runner="FnApiRunner") as p:
        assert_that(p | beam.Create([inside, inside]) | DistinctImages(), equal_to([inside]))
    assert inside.image_id == image_id("/a.tar#x.jpg")


def test_what_failed_earlier_is_counted(tmp_path):
    put_part(tmp_path, "abc", failed="b")
    counts = ListedCounts(4, 3, failed_earlier=1)
    assert_skips(references(*"abcd"), tmp_path, references("d"), counts)


def test_of_repeats_the_one_that_a_list_names_goes_on():
    found, listed = ImageReference("/a.jpg"), ImageReference("/a.jpg", listed_as="a.jpg", carried=("north",))
    for limit in (None, 1):
        with beam.Pipeline(runner="FnApiRunner") as p:
            todo = p | beam.Create([found, listed, found], reshuffle=False) | SkipLabelled(None, limit)
            assert_that(todo["references"], equal_to([listed]))
