"""The whole of CenterNet: images' pixels in, every documented output out."""

import keras

from ..ops import ops
from .feature_extractor import feature_extractor
from .heads import PeakHead, center_head
from .peaks import top_peaks
from .preprocess import INPUT_SIZE_HW, preprocess

STRIDE = 4  # pixels of the input a cell of the feature map
NUM_CLASSES = 90
MAX_DETECTIONS = 100


class CenterNet(keras.Model):
    """CenterNet ResNet50-v2 512x512, with 90 classes.

    Args:
      precision: `float32`, or `bfloat16` for the convolutions; scores and boxes are float32 always.
    """

    input_size_hw = INPUT_SIZE_HW
    mask_size_hw = None  # it has no masks
    has_proposals = False
    preprocess = staticmethod(preprocess)
    output_names = (
        "detection_boxes",
        "detection_boxes_strided",
        "detection_classes",
        "detection_multiclass_scores",
        "detection_scores",
        "num_detections",
    )
    unused_variables = ("post_bn/gamma", "post_bn/beta", "post_bn/moving_mean", "post_bn/moving_variance")

    def __init__(self, precision: str = "float32", **kwargs):
        super().__init__(**({"name": "centernet_resnet50v2_512x512"} | kwargs))
        self.feature_extractor = feature_extractor(INPUT_SIZE_HW, precision)
        features_shape = self.feature_extractor.output_shape[1:]
        self.center_head = center_head(features_shape, NUM_CLASSES, precision)
        # At 100 cells they cost nothing, so they need no bfloat16.
        self.scale_head = PeakHead(("conv2d_6", "conv2d_5"), name="box_scale")
        self.offset_head = PeakHead(("conv2d_8", "conv2d_7"), name="box_offset")
        for head in (self.scale_head, self.offset_head):
            head.build((None, *features_shape))
        self.built = True

    def call(self, pixels, true_size_hw, outputs=output_names):
        """Detects objects.

        Args:
          pixels, true_size_hw: float32 `[B, 512, 512, 3]` and int32 `[B, 2]`, from `preprocess`.
          outputs: which of `output_names` are wanted.

        Returns:
          Name -> float32 `[B, …]`, for `outputs` only:
            detection_boxes `[B, 100, 4]`: normalised to the image, clipped to it.
            detection_boxes_strided `[B, 100, 4]`: in cells of the feature map, padding included.
            detection_scores `[B, 100]`: descending.
            detection_classes `[B, 100]`: 1 to 90.
            detection_multiclass_scores `[B, 100, 90]`: of all classes at the object's centre.
            num_detections `[B]`: scores above 0.
        """
        features = self.feature_extractor(pixels)
        return self.decode(features, self.center_head(features), true_size_hw, outputs)

    def decode(self, features, center_logits, true_size_hw, outputs=output_names):
        """Detections from the features and the class logits of the center head; see `call`."""
        probabilities = mask_to_image(ops.sigmoid(center_logits), true_size_hw)
        scores, cells, classes = top_peaks(probabilities, MAX_DETECTIONS)
        found = {"detection_scores": scores, "detection_classes": ops.cast(classes + 1, "float32")}
        if "num_detections" in outputs:
            found["num_detections"] = ops.sum(ops.cast(scores > 0.0, "float32"), axis=-1)
        if "detection_multiclass_scores" in outputs:
            by_cell = ops.reshape(probabilities, (-1, probabilities.shape[1] * probabilities.shape[2], NUM_CLASSES))
            found["detection_multiclass_scores"] = ops.take_along_axis(by_cell, cells[:, :, None], axis=1)
        if {"detection_boxes", "detection_boxes_strided"} & set(outputs):
            strided = boxes_in_cells(
                cells, self.scale_head(features, cells), self.offset_head(features, cells), features.shape[1:3]
            )
            found["detection_boxes_strided"] = strided
            found["detection_boxes"] = normalised_to_image(strided, true_size_hw)
        return {name: found[name] for name in outputs}


def mask_to_image(probabilities, true_size_hw):
    """Probabilities `[B, H, W, classes]`, 0 beyond the image.

    The published graph compares *cells* with the image's size in *pixels*, so this has an effect only on images of
    less than 128 rows or columns after scaling; objects found in the padding stay. The weights were evaluated like
    that.
    """
    _, height, width, _ = probabilities.shape
    inside_y = ops.arange(height, dtype="int32") < true_size_hw[:, :1]
    inside_x = ops.arange(width, dtype="int32") < true_size_hw[:, 1:]
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    return probabilities * ops.cast(inside, probabilities.dtype)[..., None]


def boxes_in_cells(cells, size, offset, grid_hw: tuple[int, int]):
    """Boxes float32 `[B, K, 4]` in cells, clipped to the map, from the heads' values at the peaks.

    Args:
      cells: int32 `[B, K]`, row-major.
      size, offset: float32 `[B, K, 2]`, (height, width) and (y, x), in cells.
      grid_hw: size of the map.
    """
    height, width = grid_hw
    centre = ops.cast(ops.stack([cells // width, cells % width], axis=-1), "float32") + offset
    half = ops.maximum(size, 0.0) / 2.0
    boxes = ops.concatenate([centre - half, centre + half], axis=-1)
    return ops.clip(boxes, 0.0, ops.convert_to_tensor([height, width, height, width], "float32"))


def normalised_to_image(strided, true_size_hw):
    """Boxes in cells -> normalised to the image, clipped to it; those in the padding become empty."""
    size = ops.cast(true_size_hw, "float32")
    return ops.clip(strided * float(STRIDE) / ops.concatenate([size, size], axis=-1)[:, None, :], 0.0, 1.0)
