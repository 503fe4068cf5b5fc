"""What comes after the model runs while the model has its next images: masks and parts wait here for a later call to
begin.
"""

import threading
from itertools import count

import pytest
from labelbeam.detectors.saved_model import SavedModelDetector
from labelbeam.transforms import to_rows, write_parts


@pytest.fixture
def second_call(monkeypatch):
    """Set when the model is called for the second time."""
    begun, calls, detect = threading.Event(), count(), SavedModelDetector.detect

    def watched(self, images):
        if next(calls) == 1:
            begun.set()
        return detect(self, images)

    monkeypatch.setattr(SavedModelDetector, "detect", watched)
    return begun


def wait_for(event, module, name, monkeypatch):
    """Has a function wait for an event before it does its work; gives the list of whether it came."""
    came, function = [], getattr(module, name)

    def waiting(*args):
        came.append(event.wait(timeout=20))
        return function(*args)

    monkeypatch.setattr(module, name, waiting)
    return came


def test_masks_are_encoded_while_the_model_has_the_next_images(label, image_folder, second_call, monkeypatch):
    came = wait_for(second_call, to_rows, "encode_box_masks", monkeypatch)
    code, printed, labels = label(image_folder, options=["--batch-size", "2"])
    assert code == 0, printed
    assert came == [True] * 6 and len(labels.frame("masks")) == 6 * 4


def test_a_part_is_written_while_the_model_has_the_next_images(label, image_folder, second_call, monkeypatch):
    came = wait_for(second_call, write_parts, "write_part", monkeypatch)
    code, printed, labels = label(
        image_folder, options=["--batch-size", "2", "--part-images", "2", "--mask-format", "none"]
    )
    assert code == 0, printed
    assert came == [True] * 3 and len(labels.frame("images")) == 6


def test_a_part_that_cannot_be_written_fails_the_job(label, image_folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_parts, "write_part", full)
    code, printed, labels = label(image_folder, options=["--batch-size", "2", "--part-images", "2"])
    assert code == 1 and "No space left on device" in printed
    assert not labels.parts()


def test_masks_that_cannot_be_made_fail_their_image_as_a_fault_of_our_own(label, image_folder, monkeypatch):
    def broken(*args):
        raise ArithmeticError("masks of another world")

    monkeypatch.setattr(to_rows, "encode_box_masks", broken)
    code, printed, labels = label(image_folder)
    assert code == 1 and "internal" in printed
    images = labels.frame("images")
    assert set(images.error_kind) == {"internal"} and images.error_message.str.contains("masks of another world").all()
