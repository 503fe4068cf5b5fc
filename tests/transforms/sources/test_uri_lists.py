import bz2
import gzip
import io
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.storage.retry import RetryPolicy
from labelbeam.transforms.sources import list_files
from labelbeam.transforms.sources.inputs import InputError, ListOptions, format_of
from labelbeam.transforms.sources.uri_lists import open_list, parse_entries, read_entries

from tests.fakes.http_server import MisbehavingServer

ODD = [
    "https://host/a.jpg?x=1&y=2#part",
    "naïve café/图.png",
    'with space, comma and "quotes".jpg',
    "100%25.jpg",
    "/x/" + "long" * 500 + ".jpg",
    "line\nbreak.jpg",
    "padded.jpg",
]
ONE_LINE = [entry for entry in ODD if "\n" not in entry and entry == entry.strip()]


def listed(references):
    """The entries as they stand in the list, "" for rows without; raises at the first problem."""
    for reference in references:
        if reference is not None and reference.problem:
            raise InputError(reference.problem)
        yield "" if reference is None else reference.listed_as


def entries(path, **options):
    return list(listed(read_entries(str(path), format_of(str(path)), ListOptions(**options))))


def problems(path, **options):
    references = read_entries(str(path), format_of(str(path)), ListOptions(**options))
    return [reference.problem or reference.listed_as for reference in references if reference]


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def csv_of(rows):
    return "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows)


def test_txt(tmp_path):
    text = "# comment\n\n" + "\n".join(ONE_LINE) + "\r\n   \n  a.jpg \n#b.jpg\nc#.jpg"
    assert entries(written(tmp_path / "l.txt", text)) == [*ONE_LINE, "a.jpg", "c#.jpg"]


def test_csv_with_quotes_commas_and_line_ends_in_its_cells(tmp_path):
    text = csv_of([("n", "uri")] + [(str(n), entry) for n, entry in enumerate(ODD)]) + "\n"
    assert entries(written(tmp_path / "l.csv", text)) == ODD


def test_csv_column_and_empty_cells(tmp_path):
    path = written(tmp_path / "l.csv", 'url,x\na.jpg,1\n,2\n"",\nb.jpg')
    assert entries(path, uri_column="url") == ["a.jpg", "", "", "b.jpg"]


def test_jsonl_of_objects_and_strings(tmp_path):
    lines = [json.dumps({"caption": 1, "uri": entry}) for entry in ODD] + ["", '"bare.jpg"', '{"uri": null}']
    assert entries(written(tmp_path / "l.jsonl", "\n".join(lines))) == [*ODD, "bare.jpg", ""]


@pytest.mark.parametrize("column_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path, column_type):
    table = pa.table({"caption": ["x"] * 8, "uri": pa.array([*ODD, None]).cast(column_type)})
    pq.write_table(table, tmp_path / "l.parquet", row_group_size=3)
    assert entries(tmp_path / "l.parquet") == [*ODD, ""]


@pytest.mark.parametrize("text", ["\ufeffuri\na.jpg\n", "uri\r\na.jpg\r\n", "uri\ra.jpg\r"])
def test_byte_order_marks_and_line_ends_of_other_systems(tmp_path, text):
    assert entries(written(tmp_path / "l.csv", text)) == ["a.jpg"]


@pytest.mark.parametrize(
    "compress, ending", [(gzip.compress, ".gz"), (bz2.compress, ".bz2"), (lzma.compress, ".xz"), (gzip.compress, "")]
)
def test_compressed_text_is_told_by_its_first_bytes(tmp_path, compress, ending):
    path = written(tmp_path / f"l.csv{ending}", compress(b"uri\na.jpg\nb.jpg\n"))
    assert entries(path) == ["a.jpg", "b.jpg"]


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    [entry] = entries(written(tmp_path / "l.txt", b"caf\xe9.jpg\n"))
    assert entry.encode("utf-8", "surrogateescape") == b"caf\xe9.jpg"


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("l.csv", "url,caption\na.jpg,x\n", r"l\.csv: no column 'uri'; found 'url', 'caption'\. .*--uri-column"),
        ("l.csv", "", r"l\.csv: no column 'uri'; found none"),
        ("l.csv", "n,uri\n1,a.jpg\n2\n", r"l\.csv, line 3: expected 2 columns, found 1"),
        ("l.csv", 'uri\na.jpg\n"b.jpg\nc.jpg\n', r"l\.csv, line 4: not valid CSV"),
        ("l.csv", 'uri\n"a\\"b".jpg\n', r"l\.csv, line 2: not valid CSV"),
        ("l.jsonl", '\n{"url": "b.jpg"}\n', r"l\.jsonl, line 2: no column 'uri'; found 'url'"),
        ("l.jsonl", '{"uri": "a.jpg"}\n\n{"uri": \n', r"l\.jsonl, line 3: not valid JSON"),
        ("l.jsonl", "[1]\n", r"l\.jsonl, line 1: expected a URI, .* got list"),
        ("l.jsonl", '{"uri": 3}\n', r"l\.jsonl, line 1: expected a URI, .* got int"),
        ("l.txt", "a.jpg\n".encode("utf-16"), r"l\.txt: expected text in UTF-8, .*UTF-16"),
        ("l.txt.gz", gzip.compress(b"a.jpg\n" * 9999)[:-20], r"l\.txt\.gz, from its start: can't be read to its end"),
        ("l.txt.bz2", b"BZh9" + bytes(range(1, 99)), r"l\.txt\.bz2, from its start: can't be read to its end"),
        ("l.parquet", b"PAR1 no more", r"l\.parquet: not a Parquet file"),
    ],
)
def test_errors_name_the_list_and_the_place(tmp_path, name, data, message):
    with pytest.raises(InputError, match=message):
        entries(written(tmp_path / name, data))


def test_a_parquet_list_without_the_column_or_with_another_type(tmp_path):
    pq.write_table(pa.table({"url": ["a.jpg"], "n": [1]}), tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"l\.parquet: no column 'uri'; found 'url', 'n'"):
        entries(tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"l\.parquet: column 'n': expected strings, got int64"):
        entries(tmp_path / "l.parquet", uri_column="n")


def test_entries_before_the_damage_come_first(tmp_path):
    found = listed(read_entries(str(written(tmp_path / "l.jsonl", '"a.jpg"\n"b.jpg"\n{')), "jsonl", ListOptions()))
    assert [next(found), next(found)] == ["a.jpg", "b.jpg"]
    with pytest.raises(InputError):
        next(found)


@pytest.mark.heavy
def test_a_long_list_is_read_as_a_stream():
    class Endless(io.RawIOBase):
        num_bytes = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.num_bytes += len(buffer)
            buffer[:] = b"a.jpg\n".ljust(len(buffer), b"\n")
            return len(buffer)

    endless = Endless()
    found = listed(parse_entries(endless, "endless.txt", "txt", ListOptions()))
    assert [next(found), next(found)] == ["a.jpg", "a.jpg"]
    assert endless.num_bytes < 8 << 20


def parquet_of(**columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["l.txt", "l.csv.gz", "l.parquet"])
def test_lists_over_http(name):
    files = {
        "l.txt": b"a.jpg\nb.jpg",
        "l.csv.gz": gzip.compress(b"uri\na.jpg\nb.jpg\n"),
        "l.parquet": parquet_of(uri=["a.jpg", "b.jpg"]),
    }
    with MisbehavingServer(files) as server:
        assert entries(server.url(f"/files/{name}?signature=x.jpg")) == ["a.jpg", "b.jpg"]
        assert entries(server.url(f"/chunked/{name}")) == ["a.jpg", "b.jpg"]
        assert entries(server.url(f"/gzip/{name}")) == ["a.jpg", "b.jpg"]
        with pytest.raises(InputError, match=rf"/files/missing-{name}: can't be fetched .HTTP status 404 Not Found"):
            entries(server.url(f"/files/missing-{name}"))


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(list_files, "LIST_POLICY", RetryPolicy(retries=2, backoff_s=0.01))


def test_an_unreachable_server_is_named(hasty):
    with MisbehavingServer() as server:
        url = server.url("/files/l.txt")
    with pytest.raises(InputError, match=rf"{url}: can't be fetched .no connection to .*Connection refused"):
        entries(url)


def test_a_busy_server_is_asked_again():
    with MisbehavingServer({"l.txt": b"a.jpg\nb.jpg"}) as server:
        assert entries(server.url("/flaky/503/1/l.txt")) == ["a.jpg", "b.jpg"]
        assert server.count("/flaky/503/1/l.txt") == 2


@pytest.mark.parametrize("copy", [True, False])
def test_a_list_cut_off_on_its_way_is_an_error_not_a_shorter_list(copy, hasty):
    with MisbehavingServer({"l.txt": b"a.jpg\nb.jpg"}) as server:
        url = server.url("/declares-more/l.txt")
        with pytest.raises(InputError, match=rf"{url}: can't be fetched .* ended its answer early"):
            with open_list(url, copy) as file:
                list(parse_entries(file, url, "txt", ListOptions()))
