import io
import time
from dataclasses import replace
from datetime import datetime, timezone

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindow, TimestampedValue
from apache_beam.utils.windowed_value import WindowedValue
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset.masks import decode_rle
from labelbeam.labelset.schemas import TABLES, build_table
from labelbeam.transforms import to_rows
from labelbeam.transforms.elements import FailedImage, ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.to_rows import MAX_MESSAGE_LENGTH, RowOptions, ToRows, ToRowsFn, image_rows, rows_as_dicts
from PIL import Image

NOON = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)
NAMES = {1: "person", 18: "dog"}


def labelled(uri="photos/dog.jpg", masks=True, extras=None):
    """A landscape image, 200 x 100 pixels, with two detections."""
    return LabelledImage(
        ImageReference(uri),
        ImageFacts(
            attempts=1, width=200, height=100, num_bytes=5_000_000_000, sha256="ab" * 32, fetch_ms=2.5, decode_ms=1.5
        ),
        Detections(
            boxes_yxyx=np.float32([[0.25, 0.5, 0.75, 1.0], [0, 0, 0.5, 0.125]]),
            class_ids=np.int32([18, 77]),
            scores=np.float32([0.75, 0.5]),
            masks=np.ones((2, 33, 33), np.float32) if masks else None,
            extras=extras or {},
        ),
    )


def failed(uri="photos/gone.jpg", message="there is no such file"):
    return FailedImage(ImageReference(uri), ImageFacts(attempts=3), "not_found", message)


def dicts(rows, table):
    return list(rows_as_dicts(rows, table))


def test_boxes_in_pixels_and_class_names():
    rows = image_rows(labelled(masks=False), RowOptions(NAMES), NOON)
    first, second = dicts(rows, "detections")
    image_id = ImageReference("photos/dog.jpg").image_id
    assert first == {
        "detection_id": f"{image_id}-0",
        "image_id": image_id,
        "uri": "photos/dog.jpg",
        "rank": 0,
        "class_id": 18,
        "class_name": "dog",
        "score": 0.75,
        "ymin": 0.25,
        "xmin": 0.5,
        "ymax": 0.75,
        "xmax": 1.0,
        "x": 100.0,
        "y": 25.0,
        "w": 100.0,
        "h": 50.0,
        "mask_ref": None,
    }
    assert (second["detection_id"], second["rank"], second["class_name"]) == (f"{image_id}-1", 1, "class_77")
    assert (second["x"], second["y"], second["w"], second["h"]) == (0, 0, 25, 50)
    assert dicts(rows, "images") == [
        {
            "image_id": image_id,
            "uri": "photos/dog.jpg",
            "listed_as": None,
            "status": "ok",
            "error_kind": None,
            "error_message": None,
            "attempts": 1,
            "width": 200,
            "height": 100,
            "num_bytes": 5_000_000_000,
            "sha256": "ab" * 32,
            "num_detections": 2,
            "fetch_ms": 2.5,
            "decode_ms": 1.5,
            "time_s": None,
            "captured_at": None,
            "camera": None,
            "latitude": None,
            "longitude": None,
            "labelled_at": NOON,
            "modified_at": None,
            "etag": None,
        }
    ]
    assert not dicts(rows, "masks") and not dicts(rows, "tensors")


def test_masks_as_run_lengths():
    rows = image_rows(labelled(), RowOptions(NAMES), NOON)
    masks = dicts(rows, "masks")
    assert [mask["mask_ref"] for mask in masks] == [d["mask_ref"] for d in dicts(rows, "detections")]
    assert [mask["mask_ref"] for mask in masks] == [d["detection_id"] for d in dicts(rows, "detections")]
    pixels = decode_rle(masks[0]["counts"], masks[0]["height"], masks[0]["width"])
    assert pixels.shape == (100, 200)
    assert pixels.sum() == masks[0]["area"] == masks[0]["w"] * masks[0]["h"]
    assert pixels[masks[0]["y"], masks[0]["x"]] and not pixels[:, : masks[0]["x"]].any()
    assert not rows.files


def test_masks_as_png_files_have_rows_as_well():
    rows = image_rows(labelled(), RowOptions(NAMES, "png"), NOON)
    encoded = dicts(image_rows(labelled(), RowOptions(NAMES, "rle"), NOON), "masks")
    refs = [detection["mask_ref"] for detection in dicts(rows, "detections")]
    assert refs == [f"masks_png/{rows.image_id[:2]}/{rows.image_id}-{rank}.png" for rank in (0, 1)]
    assert list(rows.files) == refs
    for ref, mask, expected in zip(refs, dicts(rows, "masks"), encoded):
        assert mask == expected | {"mask_ref": ref, "counts": None}
        image = Image.open(io.BytesIO(rows.files[ref]))
        np.testing.assert_array_equal(np.asarray(image), decode_rle(expected["counts"], 100, 200))


def test_masks_that_nobody_wants_are_not_made():
    rows = image_rows(labelled(), RowOptions(NAMES, "none"), NOON)
    assert [detection["mask_ref"] for detection in dicts(rows, "detections")] == [None, None]
    assert not dicts(rows, "masks") and not rows.files


def test_an_image_without_detections():
    image = labelled()
    image.detections = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros((0, 33, 33), np.float32)
    )
    rows = image_rows(image, RowOptions(NAMES), NOON)
    assert dicts(rows, "images")[0]["num_detections"] == 0
    assert not dicts(rows, "detections") and not dicts(rows, "masks")


def test_a_failed_image_has_one_row_alone():
    rows = image_rows(failed(message="x" * 5000), RowOptions(NAMES), NOON)
    assert list(rows.tables) == ["images"]
    (row,) = dicts(rows, "images")
    assert (row["status"], row["error_kind"], row["attempts"]) == ("failed", "not_found", 3)
    assert len(row["error_message"]) == MAX_MESSAGE_LENGTH and "x…x" in row["error_message"]
    assert [row[name] for name in ("width", "sha256", "num_detections", "fetch_ms")] == [None] * 4


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=">f4").reshape(2, 3, 4),
        np.arange(24, dtype=np.float32).reshape(4, 3, 2).T,
        np.array([[True, False]]),
        np.int64(3).reshape(()),
    ],
)
def test_further_outputs_come_back_as_they_were(array):
    rows = image_rows(labelled(extras={"raw": array}), RowOptions(NAMES), NOON)
    (tensor,) = dicts(rows, "tensors")
    assert tensor["image_id"] == rows.image_id and tensor["name"] == "raw"
    back = np.frombuffer(tensor["data"], tensor["dtype"]).reshape(tensor["shape"])
    np.testing.assert_array_equal(back, array)


def test_a_text_output_is_refused_by_name():
    with pytest.raises(ValueError, match="output 'labels' of the model has dtype object"):
        image_rows(labelled(extras={"labels": np.array([b"dog"], object)}), RowOptions(), NOON)


def test_a_file_name_that_is_no_utf8_can_be_written():
    uri = b"photos/caf\xe9.jpg".decode("utf-8", "surrogateescape")
    rows = image_rows(labelled(uri), RowOptions(), NOON)
    assert dicts(rows, "images")[0]["uri"] == "photos/caf\\udce9.jpg" == dicts(rows, "detections")[0]["uri"]
    assert rows.image_id == ImageReference(uri).image_id


def test_an_unknown_mask_format_is_refused():
    with pytest.raises(ValueError, match="mask_format: expected one of rle, png, none, got 'jpeg'"):
        RowOptions(mask_format="jpeg")


def test_the_transform_makes_every_table_for_every_image():
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = (
            pipeline
            | beam.Create([[labelled(), failed()], [labelled("photos/portrait.jpg", extras={"raw": np.zeros(2)})]])
            | ToRows(RowOptions(NAMES), clock=lambda: NOON)
        )
        summary = rows | beam.Map(lambda r: {name: len(build_table(name, [r])) for name in TABLES})
        assert_that(
            summary,
            equal_to(
                [
                    {"images": 1, "detections": 2, "masks": 2, "tensors": 0},
                    {"images": 1, "detections": 0, "masks": 0, "tensors": 0},
                    {"images": 1, "detections": 2, "masks": 2, "tensors": 1},
                ]
            ),
            label="Summary",
        )
        times = rows | beam.FlatMap(rows_as_dicts, "images") | beam.Map(lambda row: row["labelled_at"])
        assert_that(times, equal_to([NOON] * 3), label="Times")


@pytest.mark.parametrize("mask_format", ["rle", "none"])
def test_timestamps_and_windows_are_kept(mask_format):
    class Placed(beam.DoFn):
        def process(self, rows, timestamp=beam.DoFn.TimestampParam, window=beam.DoFn.WindowParam):
            yield rows.tables["images"]["uri"][0], float(timestamp), float(window.start)

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        placed = (
            pipeline
            | beam.Create(range(30))
            | beam.Map(lambda i: TimestampedValue([labelled(f"{i}.jpg")], i)).with_output_types(list[LabelledImage])
            | beam.WindowInto(FixedWindows(10))
            | ToRows(RowOptions(NAMES, mask_format))
            | beam.ParDo(Placed())
        )
        assert_that(placed, equal_to([(f"{i}.jpg", float(i), float(i // 10 * 10)) for i in range(30)]))


def test_masks_that_wait_to_be_encoded_are_bounded(monkeypatch):
    encode = to_rows.encode_box_masks
    monkeypatch.setattr(to_rows, "encode_box_masks", lambda *args: time.sleep(0.01) or encode(*args))
    monkeypatch.setattr(to_rows, "MAX_WAITING_BYTES", 3 * labelled().num_bytes_in_memory)
    fn, waiting, most = ToRowsFn(RowOptions(NAMES), lambda: NOON), 0, 0
    fn.setup()
    fn.start_bundle()
    for i in range(50):
        batch = [labelled(f"{i}.jpg")]
        waiting += 1 - len(list(fn.process(batch, WindowedValue(batch, 0, (GlobalWindow(),)))))
        most = max(most, waiting)
    assert most <= 3 and len(list(fn.finish_bundle())) == waiting
    fn.teardown()


def test_the_clock_is_in_utc_by_default():
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = pipeline | beam.Create([[failed()]]) | ToRows(RowOptions()) | beam.FlatMap(rows_as_dicts, "images")
        ages = rows | beam.Map(lambda row: abs(datetime.now(timezone.utc) - row["labelled_at"]).total_seconds() < 60)
        assert_that(ages, equal_to([True]))


def test_an_image_of_which_no_rows_can_be_made_fails_alone():
    odd = labelled("odd.jpg")
    odd = replace(odd, detections=replace(odd.detections, masks=np.ones((2, 1, 1), np.float32)))

    def check(made):
        rows = {row["uri"]: row for image in made for row in dicts(image, "images")}
        assert rows["photos/dog.jpg"]["status"] == "ok"
        assert rows["odd.jpg"]["error_kind"] == "inference" and "2 x 2 cells" in rows["odd.jpg"]["error_message"]
        assert rows["odd.jpg"]["width"] == 200, "what is known of it stays"

    with beam.Pipeline(runner="FnApiRunner") as p:
        assert_that(p | beam.Create([[labelled(masks=False), odd]]) | ToRows(RowOptions(NAMES)), check)
