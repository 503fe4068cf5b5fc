import tarfile

import numpy as np
import pytest
from labelbeam.labelset.masks import decode_rle, encode_box_mask
from labelbeam.results.pixels import read_pixels
from labelbeam.results.reader import open_label_set
from labelbeam.results.stored_labels import MAX_PARTS, sample_labels
from labelbeam.storage.errors import UsageError
from labelbeam.transforms.elements import ImageError
from PIL import ExifTags, Image

from tests.fakes.output_folders import detections, failed, labelled, write_part


def save_image(path, size_hw=(30, 40), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.mark.parametrize("mask_format", ["rle", "png"])
def test_labels_come_back_as_they_were_found(tmp_path, mask_format):
    pixels = save_image(tmp_path / "b.png")
    found = detections([0.875, 0.5], class_ids=[2, 7])
    write_part(tmp_path, [labelled(tmp_path / "b.png", (30, 40), found), failed(tmp_path / "a.png")], mask_format)
    first, second = sample_labels(open_label_set(str(tmp_path)), 10)
    assert (first.uri, first.failure.kind, first.size_hw) == (str(tmp_path / "a.png"), "truncated", None)
    assert second.failure is None and second.class_names == ["box", "class_7"] and second.settings["detector"] == "demo"
    np.testing.assert_array_equal(second.scores, found.scores)
    np.testing.assert_array_equal(second.boxes_xywh, [[0, 7.5, 20, 15], [20, 7.5, 20, 15]])
    np.testing.assert_array_equal(read_pixels(second), pixels)
    for rank in (0, 1):
        encoded = encode_box_mask(found.masks[rank], found.boxes_yxyx[rank], 30, 40)
        np.testing.assert_array_equal(second.mask(rank), decode_rle(encoded.counts, 30, 40))


def test_a_label_set_without_masks_has_none(tmp_path):
    write_part(tmp_path, [labelled("a.png", (30, 40), detections([0.5]))], "none", tables=("detections", "images"))
    (image,) = sample_labels(open_label_set(str(tmp_path)), 1)
    assert image.class_names == ["ball"] and image.mask(0) is None


def test_samples_are_random_repeatable_and_over_all_parts(tmp_path):
    for part in range(4):
        images = [labelled(f"{part}-{i}.png", (30, 40), detections([0.5] * i)) for i in range(5)]
        write_part(tmp_path, images, stem=f"part-{part}")
    samples = [[image.uri for image in sample_labels(open_label_set(str(tmp_path)), 8, seed)] for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert all(len(set(sample)) == 8 and sample == sorted(sample) for sample in samples)
    everything = sample_labels(open_label_set(str(tmp_path)), 100)
    assert [len(image.scores) for image in everything] == list(range(5)) * 4


def test_of_many_parts_only_some_are_opened(tmp_path):
    for part in range(MAX_PARTS + 6):
        write_part(tmp_path, [failed(f"{part}.png")], stem=f"part-{part}", tables=("detections", "images"))
    assert len(sample_labels(open_label_set(str(tmp_path)), 1000)) == MAX_PARTS


def test_parts_that_were_never_finished_do_not_count(tmp_path):
    images = [labelled("a.png", (30, 40), detections([0.5]))]
    write_part(tmp_path, images)
    write_part(tmp_path, images, stem="part-b", tables=("detections", "masks"))
    (image,) = sample_labels(open_label_set(str(tmp_path)), 10)
    assert image.class_names == ["ball"]


def test_images_are_decoded_as_for_their_labels(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = save_image(tmp_path / "a.png", exif=exif)
    image, nothing = tmp_path / "a.png", detections([])
    write_part(tmp_path / "ignored", [labelled(image, (30, 40), nothing)], exif_orientation="ignore")
    write_part(tmp_path / "applied", [labelled(image, (40, 30), nothing)])
    (ignored,), (applied,) = (
        sample_labels(open_label_set(str(tmp_path / "ignored")), 1),
        sample_labels(open_label_set(str(tmp_path / "applied")), 1),
    )
    np.testing.assert_array_equal(read_pixels(ignored), stored)
    np.testing.assert_array_equal(read_pixels(applied), np.rot90(stored, -1))


def test_images_inside_a_container_are_found_again(tmp_path):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png", size_hw=(7, 9))
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
        archive.add(tmp_path / "b.png", "b.png")
    names = ["b.png", "gone.png"]
    write_part(tmp_path, [labelled(f"{shard}#{name}", (7, 9), detections([])) for name in names])
    present, gone = sample_labels(open_label_set(str(tmp_path)), 2)
    assert read_pixels(present).shape == (7, 9, 3)
    with pytest.raises(ImageError, match="no such member any more"):
        read_pixels(gone)
    shard.unlink()
    with pytest.raises(ImageError) as error:
        read_pixels(present)
    assert error.value.kind == "not_found"


def test_a_image_that_has_changed_is_not_taken_for_the_labelled_one(tmp_path):
    save_image(tmp_path / "a.png", size_hw=(30, 41))
    write_part(tmp_path, [labelled(tmp_path / "a.png", (30, 40), detections([]))])
    with pytest.raises(ImageError, match="it had 40×30 pixels, now it has 41×30"):
        read_pixels(sample_labels(open_label_set(str(tmp_path)), 1)[0])


def test_an_empty_label_set_is_refused(tmp_path):
    (tmp_path / "_label_set.json").write_text('{"settings": {}}')
    with pytest.raises(UsageError, match="no labelled images; no job has finished a part yet"):
        sample_labels(open_label_set(str(tmp_path)), 1)
