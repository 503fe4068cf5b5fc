import pytest
from labelbeam.storage.file_info import FileVersion, file_version
from labelbeam.transforms.ask_versions import RowVersion, has_changed

S = 1_000_000  # microseconds


@pytest.mark.parametrize(
    "now, row, changed",
    [
        (FileVersion(5, 1 * S, "a"), RowVersion(5, 2 * S, "a", 9 * S), False),  # uploaded again, the same bytes
        (FileVersion(5, 1 * S, "b"), RowVersion(5, 1 * S, "a", 9 * S), True),
        (FileVersion(6, 1 * S), RowVersion(5, 1 * S, None, 9 * S), True),
        (FileVersion(5, 1 * S + 7), RowVersion(5, 1 * S + 8, None, 9 * S), True),
        (FileVersion(5, 1 * S + 7), RowVersion(5, 1 * S + 7, None, 9 * S), False),
        (FileVersion(5, 1 * S), RowVersion(5, 1 * S + 8, None, 9 * S), False),  # told in whole seconds now
        (FileVersion(5, 8 * S + 1), RowVersion(5, None, None, 9 * S), False),  # rows of an older labelbeam
        (FileVersion(5, 9 * S + 1), RowVersion(5, None, None, 9 * S), True),
        (FileVersion(5), RowVersion(5, 1 * S, "a", 9 * S), None),
        (FileVersion(6), RowVersion(5, 1 * S, "a", 9 * S), True),
        (FileVersion(), RowVersion(None, None, None, 9 * S), None),
    ],
)
def test_what_tells_that_a_file_has_changed(now, row, changed):
    assert has_changed(now, row) is changed


def test_odd_times_are_none_and_tags_lose_quotes():
    assert file_version(1, 5.5e6, 'W/"x"') == FileVersion(1, 5_500_000, "x") == file_version(1, 5.5e6, '"x"')
    assert file_version(1, 0, '""') == FileVersion(1) == file_version(1, 1e30, None) == file_version(1, -5.0)
