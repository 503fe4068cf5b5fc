import logging

import pytest
from labelbeam.detectors.config import load_config
from labelbeam.detectors.labels import parse_labels
from labelbeam.storage.errors import ConfigError

from tests.detectors.test_config import GOOD

PBTXT = b"""# made by hand
item {
  name: "/m/01yrx"
  id: 1
  display_name: "cat"
}
item { id: 2 name: 'dog\\'s' keypoints { id: 7 label: "nose" } }
"""


@pytest.mark.parametrize(
    "name, content, labels",
    [
        ("label_map.pbtxt", PBTXT, {1: "cat", 2: "dog's"}),
        ("labels.txt", b"cat\r\n\r\ndog\r\n", {1: "cat", 3: "dog"}),
        ("labels.txt", b"???\ncat\ndog\n", {1: "cat", 2: "dog"}),
        ("labels.json", b'{"1": "cat", "2": "dog"}', {1: "cat", 2: "dog"}),
        ("labels.json", b'["cat", "dog"]', {1: "cat", 2: "dog"}),
        ("config.json", b'{"id2label": {"0": "cat", "1": "dog"}, "x": 1}', {0: "cat", 1: "dog"}),
        ("instances.json", b'{"categories": [{"id": 7, "name": "cat"}], "images": []}', {7: "cat"}),
        ("labels.yaml", b"1: cat\n2: dog\n", {1: "cat", 2: "dog"}),
        ("data.yml", b"path: x\nnames: [cat, dog]\n", {0: "cat", 1: "dog"}),
    ],
)
def test_formats(name, content, labels):
    assert parse_labels(content, name) == labels


def test_lists_may_start_at_0():
    assert parse_labels(b"cat\ndog\n", "labels.txt", first_id=0) == {0: "cat", 1: "dog"}


@pytest.mark.parametrize(
    "name, content, named",
    [
        ("labels.csv", b"1,cat", r"expected a file that ends in \.pbtxt, \.txt"),
        ("labels.txt", b"\n\n", "there are no names in it"),
        ("labels.txt", b"\xff\xfe", "isn't text in UTF-8"),
        ("labels.json", b"{1: 'cat'}", "not valid JSON"),
        ("labels.json", b"[" * 100_000, "not valid JSON"),
        ("labels.json", b'"cat"', "expected a mapping of ids to names, or a list"),
        ("labels.json", b'{"1": "cat", "1": "dog"}', "key '1' stands twice"),
        ("labels.json", b'{"1": "cat", "01": "dog"}', "id 1 has two names, 'cat' and 'dog'"),
        ("labels.json", b'{"cat": 1}', "expected a whole number from 0 on as id, got 'cat'"),
        ("labels.json", b'{"1": true}', r"id 1: expected a name \(in quotes\), got 'True'"),
        ("labels.json", b'{"1": "\\ud800"}', "id 1: its name holds a zero byte, or half of a character"),
        ("labels.txt", b"cat\0\n", "id 1: its name holds a zero byte"),
        ("labels.yaml", b"1: no\n", r"id 1: expected a name \(in quotes\), got 'False'"),
        ("labels.yaml", b"-1: cat\n", "from 0 on as id, got '-1'"),
        ("m.pbtxt", b"item { id: 1 name: 'cat' } item { id: 1 name: 'dog' }", "id 1 has two names"),
        ("m.pbtxt", b"item { id: 'one' }", "not a label map"),
        ("m.pbtxt", b"item {" * 5000, "not a label map"),
    ],
)
def test_what_is_wrong_is_named(name, content, named):
    with pytest.raises(ConfigError, match=named) as caught:
        parse_labels(content, name)
    assert "\n" not in str(caught.value)


def test_one_name_for_two_ids_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert parse_labels(b'{"1": "cat", "2": "cat"}', "labels.json") == {1: "cat", 2: "cat"}
    assert "'cat' is the name of several ids" in caplog.text


def test_a_configuration_names_a_file_beside_it(tmp_path):
    (tmp_path / "label_map.pbtxt").write_bytes(PBTXT)
    config = tmp_path / "mine.yaml"
    config.write_text(GOOD.replace("{1: cat, 2: dog}", "label_map.pbtxt"))
    assert load_config(str(config)).labels == {1: "cat", 2: "dog's"}
    config.write_text(GOOD.replace("{1: cat, 2: dog}", "absent.txt"))
    with pytest.raises(ConfigError, match=r"absent\.txt: no such file"):
        load_config(str(config))
    config.write_text(GOOD.replace("{1: cat, 2: dog}", "{1: no, 2: yes}"))
    with pytest.raises(ConfigError, match="labels: 1: expected a text, got False; put it in quotes"):
        load_config(str(config))
