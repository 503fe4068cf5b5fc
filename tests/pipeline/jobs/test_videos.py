"""Videos among the inputs: frames are labelled as images are."""

import numpy as np
import pytest
from labelbeam.pipeline.cli import main
from PIL import Image

from tests.fakes.images import save_image
from tests.fakes.videos import number_of, write_video


@pytest.fixture
def video_folder(tmp_path):
    """Two videos of 60 frames, 25 a second, and an image."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", codec="libx264", bframes=2)
    write_video(folder / "turned.mov", turned=90)
    save_image(folder / "image.jpg", 1)
    return folder


@pytest.mark.heavy
def test_frames_are_images_with_their_times(label, video_folder, tmp_path):
    code, printed, labels = label(video_folder, options=["--frames-every", "0.5"])
    assert code == 0, printed
    images = labels.frame("images").set_index("uri").sort_index()
    times = ["0.000", "0.520", "1.000", "1.520", "2.000"]
    named = {f"{video_folder}/{name}#t={time}": float(time) for name in ("a.mp4", "turned.mov") for time in times}
    assert images.time_s.dropna().to_dict() == pytest.approx(named) and len(images) == 11
    assert set(images.status) == {"ok"} and images.drop(f"{video_folder}/image.jpg").sha256.isna().all()
    assert (images.loc[f"{video_folder}/a.mp4#t=0.520", ["width", "height"]] == [64, 48]).all()
    assert (images.loc[f"{video_folder}/turned.mov#t=0.520", ["width", "height"]] == [48, 64]).all()
    code, printed, _ = label(video_folder, options=["--frames-every", "0.5"])
    assert code == 0 and "Nothing to do: 11 images, labelled already" in printed
    code, printed, labels = label(video_folder)  # one a second: of these, all have rows
    assert code == 0 and "Nothing to do: 7 images, labelled already" in printed

    out, uri = str(labels.folder), f"{video_folder}/a.mp4#t=1.520"
    assert main(["show", out, uri, "--output", str(tmp_path / "shown.png")]) == 0
    assert Image.open(tmp_path / "shown.png").width >= 64
    assert main(["report", out, "--output", str(tmp_path / "report.html")]) == 0
    coco = tmp_path / "coco"
    assert main(["export", out, "--format", "coco", "--to", str(coco), "--copy-images"]) == 0
    copied = {path.name: np.asarray(Image.open(path)) for path in coco.rglob("*.jpg")}
    assert len(copied) == 11
    [frame] = [pixels for name, pixels in copied.items() if "a.mp4" in name and "1.520" in name]
    assert number_of(frame) == 38
