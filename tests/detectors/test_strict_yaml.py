"""Files that are no configuration: each is refused in one sentence that names the file."""

import time

import pytest
from labelbeam.detectors.strict_yaml import parse_mapping, read_mapping
from labelbeam.storage.errors import ConfigError

BOMB = b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    "content, named",
    [
        (b"name: !!python/object/apply:os.system ['true']\n", "not valid YAML: could not determine a constructor"),
        (b"name: !mine x\n", "not valid YAML: could not determine a constructor"),
        (b"released: 2020-13-45\n", "not valid YAML: month must be in 1..12"),
        (b"n: !!int abc\n", "not valid YAML"),
        (b"n: " + b"9" * 5000, "not valid YAML"),
        (b"name: a\0b\n", "not valid YAML: unacceptable character"),
        ("name: Käfer\n".encode("latin-1"), r"f\.yaml, line 1: isn't text in UTF-8"),
        ("name: a\n".encode("utf-16"), r"f\.yaml, line 1: isn't text in UTF-8"),
        (b"[" * 100_000, "nested more than 20 levels deep"),
        (b"- " * 100_000, "nested more than 20 levels deep"),
        (b"a: " + b"{b: " * 5000, "nested more than 20 levels deep"),
        (BOMB, r"line 2: aliases \(\*a\) aren't taken"),
        (b"base: &b {x: 1}\nmine: {<<: *b}\n", "aliases"),
        (b"a: 1\na: 2\n", "line 2: .* key 'a' stands twice"),
        (b"labels:\n  1: cat\n  0x1: dog\n", "line 3: .* key 1 stands twice"),
        (b"labels: {[1, 2]: cat}\n", "expected a text or a number as key"),
        (b"? {a: b}\n: c\n", "expected a text or a number as key"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"", "expected a mapping"),
        (b"name: a\n---\nname: b\n", "not valid YAML"),
        (b"a: 'open\n", "not valid YAML"),
        (b"a: \t\tb: c: d\n", "not valid YAML"),
        (b"x" * (1 << 20) + b"y", "larger than a megabyte"),
        (b'a: "x\\0y"\n', "line 1: holds a zero byte"),
        (b'b: 1\n"\\0": 2\n', "line 2: holds a zero byte"),
        (b'a: "\\ud800"\n', "line 1: "),
        (b"a: [" + b"1," * 400_000 + b"]\n", "more than 200,000 values"),
    ],
    ids=lambda value: None,
)
def test_one_sentence_for_each(content, named):
    started = time.monotonic()
    with pytest.raises(ConfigError, match=named) as caught:
        parse_mapping(content, "f.yaml")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("f.yaml") and len(str(caught.value)) < 400
    assert time.monotonic() - started < 10


def test_what_people_write_is_taken(tmp_path):
    text = "\ufeffname: Käfer  # a beetle\nlabels: {1: 'no', 2: \"1\"}\nlist:\n- a\n- b: [1, 2.5, null]\n"
    (tmp_path / "f.yaml").write_text(text, encoding="utf-8")
    assert read_mapping(tmp_path / "f.yaml") == {
        "name": "Käfer",
        "labels": {1: "no", 2: "1"},
        "list": ["a", {"b": [1, 2.5, None]}],
    }


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        read_mapping(tmp_path)
