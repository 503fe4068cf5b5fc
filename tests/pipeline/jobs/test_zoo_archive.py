"""An archive of TF2's model zoo as it is downloaded, `NAME.tar.gz`: run as it is, and by engine keras from its
checkpoint.
"""

import shutil
import tarfile

import numpy as np
import pytest

from tests.detectors.keras.support.checkpoints import centernet_zoo_keys, write_checkpoint
from tests.detectors.keras.support.comparison import assert_same_detections
from tests.standins import photos, standin

CENTERNET = "centernet_resnet50v2_512x512"
NAME = "centernet_resnet50_v2_512x512_coco17_tpu-8"
PIPELINE = """
model {
  center_net {
    num_classes: 90
    feature_extractor { type: "resnet_v2_50" }
    image_resizer {
      keep_aspect_ratio_resizer { min_dimension: 512 max_dimension: 512 pad_to_max_dimension: true }
    }
  }
}
"""


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """NAME/saved_model, NAME/checkpoint and NAME/pipeline.config of the stand-in CenterNet, packed."""
    from labelbeam.detectors.keras import published

    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    saved_model, folder = standin("centernet"), tmp_path / "made" / NAME
    shutil.copytree(saved_model, folder / "saved_model")
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    variables = published.read_variables(saved_model)
    write_checkpoint(checkpoint / "ckpt-0", variables, centernet_zoo_keys(), extra={"save_counter": np.int64(1)})
    (checkpoint / "checkpoint").write_text('model_checkpoint_path: "ckpt-0"\nall_model_checkpoint_paths: "ckpt-0"\n')
    (folder / "pipeline.config").write_text(PIPELINE)
    packed = tmp_path / f"{NAME}.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
        tar.add(folder, NAME)
    shutil.rmtree(folder)
    return packed


@pytest.mark.heavy
def test_an_archive_as_it_is_downloaded(archive, label, tmp_path):
    image_folder = photos("coffee.png", "chelsea.png", "rocket.jpg")
    code, printed, published = label(*image_folder, detector=str(archive), output="published")
    assert code == 0, printed
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    keras = ("--engine", "keras", "--weights")
    checkpoint = str(tmp_path / "unpacked" / NAME / "checkpoint")
    code, printed, ours = label(*image_folder, detector=CENTERNET, output="keras", options=(*keras, checkpoint))
    assert code == 0 and "loaded 1×" in printed, printed
    code, printed, _ = label(*image_folder, detector=CENTERNET, output="keras", options=(*keras, str(archive)))
    assert code == 0 and "Nothing to do" in printed, "the archive's weights are those of its checkpoint"
    one, other = (labels.frame("detections") for labels in (published, ours))
    assert set(one["uri"]) == set(other["uri"]) == set(map(str, image_folder))
    assert len(one) > 10 * len(image_folder)
    for uri in map(str, image_folder):
        a, b = (
            {
                "detection_scores": found["score"].to_numpy(),
                "detection_classes": found["class_id"].to_numpy(),
                "detection_boxes": found[["ymin", "xmin", "ymax", "xmax"]].to_numpy(),
            }
            for found in (frame[frame["uri"] == uri].sort_values("rank") for frame in (one, other))
        )
        assert_same_detections(a, b, score_tolerance=2e-4, box_tolerance=2e-5)
    names = [dict(zip(frame["class_id"], frame["class_name"], strict=True)) for frame in (one, other)]
    assert names[0] == names[1], "COCO's names, told by the number of classes in pipeline.config"
