import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.pipeline.label_images import LabelImages
from labelbeam.pipeline.settings import LabelConfig


def test_label_set_as_a_step_of_another_pipeline(fake_detector, image_folder, tmp_path):
    uris = [str(p) for p in sorted(image_folder.iterdir())] + [
        str(tmp_path / "absent.jpg"),
        str(image_folder / "0.jpg"),
    ]

    def check_images(images):
        assert sorted((i["uri"], i["status"]) for i in images) == sorted(
            (uri, "ok" if "absent" not in uri else "failed") for uri in set(uris)
        )

    def check_detections(detections):
        assert len(detections) == 6 * 2
        assert {d["class_name"] for d in detections} == {"ball", "box"}

    def check_masks(masks):
        assert len(masks) == 12 and all(m["mask_ref"] == m["detection_id"] for m in masks)

    with beam.Pipeline(runner="FnApiRunner") as p:
        tables = p | beam.Create(uris) | LabelImages(LabelConfig(fake_detector, min_score=0.6))
        assert set(tables) == {"images", "detections", "masks"}
        assert_that(tables["images"], check_images, label="images")
        assert_that(tables["detections"], check_detections, label="detections")
        assert_that(tables["masks"], check_masks, label="masks")


def test_rows_go_to_beams_own_parquet_writer(fake_detector, image_folder, tmp_path):
    import pyarrow.parquet as pq
    from labelbeam.labelset import schemas

    with beam.Pipeline(runner="FnApiRunner") as p:
        tables = p | beam.Create([str(image_folder / "0.jpg")]) | LabelImages(LabelConfig(fake_detector))
        _ = tables["detections"] | beam.io.WriteToParquet(str(tmp_path / "detections"), schemas.DETECTIONS)
    [written] = tmp_path.glob("detections*")
    assert pq.read_table(written).num_rows == 4


def test_png_masks_need_a_folder(fake_detector):
    with pytest.raises(ValueError, match="rle"):
        LabelImages(LabelConfig(fake_detector, mask_format="png"))
