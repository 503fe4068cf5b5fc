"""SavedModels with the TF Object Detection API's signature, small enough to be made in a test.

What they find follows from the image alone (its mean colour), so that results can be foretold and images told apart.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

ROWS = 5


def expected_outputs(image: np.ndarray) -> dict[str, np.ndarray]:
    """What the fake model gives for an image, by NumPy: float32 arrays without a batch axis."""
    mean = image.reshape(-1, 3).mean(axis=0, dtype=np.float64).astype(np.float32) / np.float32(255)
    steps = np.arange(ROWS, dtype=np.float32)
    boxes = np.stack(
        [0.1 * mean[0] + 0.05 * steps, 0.1 * mean[1] + 0.05 * steps, 0.5 + 0.1 * mean[2] + 0 * steps, 0.6 + 0 * steps],
        axis=1,
    )
    return {"boxes": boxes.astype(np.float32), "scores": (0.95 - 0.2 * steps).astype(np.float32)}


class _Detector(tf.Module):
    def __init__(self, masks: bool):
        super().__init__()
        self.masks = masks
        self.scale = tf.Variable(1 / 255, name="scale")  # something to load

    def outputs(self, images):
        mean = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2]) * self.scale  # [B, 3]
        steps = tf.range(ROWS, dtype=tf.float32)[tf.newaxis]
        batch = tf.shape(images)[0]
        ymin, xmin = 0.1 * mean[:, :1] + 0.05 * steps, 0.1 * mean[:, 1:2] + 0.05 * steps
        ymax, xmax = 0.5 + 0.1 * mean[:, 2:] + 0 * steps, 0.6 + 0 * steps + 0 * mean[:, :1]
        found = {
            "num_detections": tf.fill([batch], float(ROWS)),
            "detection_boxes": tf.stack([ymin, xmin, ymax, xmax], axis=2),
            "detection_classes": tf.tile(1 + steps % 3, [batch, 1]),
            "detection_scores": tf.tile(0.95 - 0.2 * steps, [batch, 1]),
            "detection_multiclass_scores": tf.tile(mean[:, tf.newaxis, :], [1, ROWS, 1]),
            "anchors": tf.reshape(tf.range(28, dtype=tf.float32), [7, 4]),
        }
        if self.masks:
            ramp = tf.linspace(0.0, 1.0, 33)
            found["detection_masks"] = tf.tile(ramp[tf.newaxis, tf.newaxis, :, tf.newaxis], [batch, ROWS, 1, 33])
        return found


def save_detector(
    folder,
    *,
    batch: int | None = 1,
    masks: bool = True,
    dtype=tf.uint8,
    input_kind: str = "pixels",
    leave_out=(),
    poison: int | None = None,
    call_log: str | None = None,
    slow_steps: int = 0,
    signature: str = "serving_default",
    change: Callable[[dict, tf.Tensor], dict] = lambda outputs, images: outputs,
) -> str:
    """Writes a SavedModel and returns its folder.

    Args:
      batch: size of the signature's batch axis, None for a free one.
      dtype: of the input.
      input_kind: as `detectors.signature.InputKind` has them; images of a batch must have one size.
      leave_out: names of outputs that it lacks.
      poison: the model raises for an image whose pixels all have this value.
      call_log: path of a file to which each call appends a line.
      slow_steps: multiplications of large matrices before each answer, about a millisecond each.
      signature: the signature's name.
      change: makes other outputs of the usual ones and the images.
    """
    module = _Detector(masks)

    if input_kind == "float_pixels":
        dtype = tf.float32
    if input_kind in ("encoded_image", "example"):
        spec = tf.TensorSpec([batch], tf.string, name="input_tensor")
    else:
        spec = tf.TensorSpec([batch, None, None, 3], dtype, name="input_tensor")

    @tf.function(input_signature=[spec])
    def serve(input_tensor):
        if input_kind == "example":
            features = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
            input_tensor = tf.io.parse_example(input_tensor, features)["image/encoded"]
        if input_kind in ("encoded_image", "example"):
            decode = functools.partial(tf.io.decode_image, channels=3, expand_animations=False)
            input_tensor = tf.map_fn(decode, input_tensor, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8))
        if poison is not None:
            harmless = tf.debugging.Assert(tf.reduce_any(input_tensor != poison), ["poisoned image"])
            with tf.control_dependencies([harmless]):
                input_tensor = tf.identity(input_tensor)
        if call_log is not None:
            tf.print("called", output_stream=f"file://{call_log}")
        if slow_steps:
            start = tf.fill([200, 200], tf.cast(input_tensor[0, 0, 0, 0], tf.float32))
            _, busy = tf.while_loop(lambda i, x: i < slow_steps, lambda i, x: (i + 1, tf.tanh(x @ x)), (0, start))
            input_tensor += tf.cast(tf.reduce_min(busy) * 0, tf.uint8)
        outputs = change(module.outputs(input_tensor), input_tensor)
        return {name: value for name, value in outputs.items() if name not in leave_out}

    tf.saved_model.save(module, str(folder), signatures={signature: serve})
    return str(folder)
