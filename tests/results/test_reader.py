import numpy as np
import pyarrow.compute as pc
import pytest
from labelbeam.results.reader import decode_mask, open_label_set
from labelbeam.results.stored_labels import iter_labels
from labelbeam.storage.errors import UsageError

from tests.fakes.output_folders import detections, labelled, write_part
from tests.results.export.outputs import make_output, save_label_set


def test_tables_come_whole_in_portions_and_by_filter(tmp_path):
    tables = open_label_set(str(make_output(tmp_path)))
    assert tables.settings["detector"] == "demo"
    images = tables.arrow("images")
    assert images.num_rows == 5 and images["status"].to_pylist().count("failed") == 1
    found = tables.pandas("detections", ["class_name", "score"], filters=pc.field("score") > 0.55)
    assert sorted(found["class_name"]) == ["ball", "ball", "box"] and list(found) == ["class_name", "score"]
    batches = list(tables.batches("detections", ["uri"]))
    assert len(batches) == 2 and sum(batch.num_rows for batch in batches) == 5


@pytest.mark.parametrize("mask_format", ["rle", "png"])
def test_a_mask_ref_leads_to_its_mask(tmp_path, mask_format):
    output = str(make_output(tmp_path, mask_format))
    tables = open_label_set(output)
    wanted = {
        ref: labels.mask(rank)
        for labels in iter_labels(open_label_set(output))
        for rank, ref in enumerate(labels.mask_refs)
    }
    assert len(wanted) == 5
    for ref, mask in wanted.items():
        np.testing.assert_array_equal(tables.mask(ref), mask)
    some = sorted(wanted)[1:3]
    assert sorted(ref for ref, _ in tables.masks(some)) == some
    assert sorted(ref for ref, _ in tables.masks()) == sorted(wanted)
    for row in tables.pandas("masks").to_dict("records"):
        np.testing.assert_array_equal(decode_mask(row, output), wanted[row["mask_ref"]])
    with pytest.raises(KeyError, match="no mask 'nothing'"):
        tables.mask("nothing")


def test_a_table_that_a_label_set_has_not_is_empty(tmp_path):
    tables = open_label_set(str(make_output(tmp_path, "none")))
    assert (
        tables.arrow("masks").num_rows == 0 and list(tables.masks()) == [] and tables.pandas("tensors", ["name"]).empty
    )


def test_unfinished_parts_do_not_count(tmp_path):
    output = make_output(tmp_path)
    write_part(
        output, [labelled("/p/x.png", (30, 40), detections([0.9]))], stem="part-z", tables=("detections", "masks")
    )
    assert open_label_set(str(output)).arrow("detections").num_rows == 5


def test_an_empty_label_set_has_empty_tables(tmp_path):
    save_label_set(tmp_path)
    assert open_label_set(str(tmp_path)).pandas("images").empty


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="not the output folder of a label set"):
        open_label_set(str(tmp_path))
    tables = open_label_set(str(make_output(tmp_path)))
    with pytest.raises(UsageError, match="table 'boxes': expected one of images, detections"):
        tables.arrow("boxes")
    with pytest.raises(UsageError, match="table detections has no column colour; it has: detection_id"):
        list(tables.batches("detections", ["colour"]))
