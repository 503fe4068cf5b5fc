"""The whole of Mask R-CNN: images' pixels in, every documented output out, and no work for those not asked for."""

from typing import Any

import keras
import numpy as np

from ..compiled import runs_on_cpu
from ..ops import ops
from .anchors import grid_anchors
from .box_classifier import MAX_DETECTIONS, NUM_CLASSES, best_class_boxes, box_head, select_detections
from .crop_and_resize import crop_and_resize
from .inception_resnet_v2 import Mixed7aReductions, first_stage, tower
from .mask_head import MASK_SIZE_HW, MaskHead
from .preprocess import INPUT_SIZE_HW, preprocess
from .region_proposal import rpn_head, select_proposals

STRIDE = 16  # pixels of the input a cell of the feature map
CROP_HW = (17, 17)
CROPS_AT_ONCE = 50  # bounds the memory of the tower; a divisor of 100 and of 300

# What needs what: outputs that are computed only if one of them is asked for.
_DETECTIONS = {
    "num_detections",
    "detection_boxes",
    "detection_classes",
    "detection_scores",
    "detection_multiclass_scores",
    "detection_anchor_indices",
    "detection_masks",
    "mask_predictions",
}
_SECOND_STAGE = _DETECTIONS | {
    "raw_detection_boxes",
    "raw_detection_scores",
    "refined_box_encodings",
    "class_predictions_with_background",
    "box_classifier_features",
}
_PROPOSALS = _SECOND_STAGE | {"proposal_boxes", "proposal_boxes_normalized", "final_anchors", "num_proposals"}
_CONSTANT = {"anchors", "image_shape"}


class MaskRCNN(keras.Model):
    """Mask R-CNN Inception-ResNet-v2 1024x1024, with 90 classes.

    A feature map that differs in the last bit may move a proposal by as much, and where that ends at the image's
    border, it decides whether the last row of its crop is zero (see `crop_and_resize`). So that an image gives the
    same alone and in a batch, images go through the first stage one by one where a batch is no gain: on a CPU.

    Args:
      precision: `float32`, or `bfloat16` for the convolutions; scores, boxes and masks are float32 always.
      one_by_one: whether images go through the first stage singly; if None, on a CPU.
    """

    input_size_hw = INPUT_SIZE_HW
    mask_size_hw = MASK_SIZE_HW
    has_proposals = True
    preprocess = staticmethod(preprocess)
    output_names = (
        "anchors",
        "box_classifier_features",
        "class_predictions_with_background",
        "detection_anchor_indices",
        "detection_boxes",
        "detection_classes",
        "detection_masks",
        "detection_multiclass_scores",
        "detection_scores",
        "final_anchors",
        "image_shape",
        "mask_predictions",
        "num_detections",
        "num_proposals",
        "proposal_boxes",
        "proposal_boxes_normalized",
        "raw_detection_boxes",
        "raw_detection_scores",
        "refined_box_encodings",
        "rpn_box_encodings",
        "rpn_box_predictor_features",
        "rpn_features_to_crop",
        "rpn_objectness_predictions_with_background",
    )
    unused_variables = ()

    def __init__(self, precision: str = "float32", one_by_one: bool | None = None, **kwargs):
        super().__init__(**({"name": "mask_rcnn_inception_resnet_v2_1024x1024"} | kwargs))
        self.one_by_one = runs_on_cpu() if one_by_one is None else one_by_one
        self.first_stage = first_stage(INPUT_SIZE_HW, precision)
        features_shape = self.first_stage.output_shape[1:]
        self.rpn_head = rpn_head(features_shape, precision)
        self.mixed_7a_reductions = Mixed7aReductions(name="mixed_7a_reductions", dtype=precision)
        self.mixed_7a_reductions.build(features_shape)
        self.tower = tower(CROP_HW, features_shape[-1], precision)
        self.box_head = box_head(self.tower.output_shape[1:])
        self.mask_head = MaskHead(NUM_CLASSES, name="mask_head", dtype=precision)
        self.mask_head.build(self.tower.output_shape)
        self.anchors = grid_anchors(features_shape[:2], STRIDE)
        self.built = True

    def call(self, pixels, true_size_hw=None, outputs=output_names, proposal_boxes_normalized=None, num_proposals=None):
        """Detects objects.

        Args:
          pixels: float32 `[B, 1024, 1024, 3]` from `preprocess`.
          true_size_hw: from `preprocess`; not needed, since the image fills the input.
          outputs: which of `output_names` are wanted; the rest isn't computed.
          proposal_boxes_normalized: float32 `[B, P, 4]`, boxes that take the place of the RPN's proposals, if not None.
          num_proposals: int32 `[B]`, how many of them are real, the others being padding; all if None.

        Returns:
          Name -> array, for `outputs` only, float32 with the shapes of the published graph for one image. Outputs
          without an axis for the image there ([300, …], [100, …]) are image-major here: [B * 300, …], [B * 100, …].
        """
        found, _ = self.detect(pixels, outputs, proposal_boxes_normalized, num_proposals)
        return found

    def detect(self, pixels, outputs, proposal_boxes_normalized=None, num_proposals=None):
        """What `call` does; with the outputs comes what `masks` needs for more masks, None if nothing was cropped."""
        wanted = set(outputs)
        found, croppable = {}, None
        if wanted - _CONSTANT:
            features = self._by_image(self.first_stage, pixels)
            found["rpn_features_to_crop"] = features
            found |= self._propose(features, wanted, proposal_boxes_normalized, num_proposals)
            if wanted & _SECOND_STAGE:
                croppable = self._by_image(self.croppable, features)
                found |= self._classify(croppable, found["proposal_boxes_normalized"], found["num_proposals"], wanted)
            if "mask_predictions" in wanted:
                found["mask_predictions"] = self._mask_logits(croppable, found["detection_boxes"])
            if "detection_masks" in wanted:
                classes = found["detection_classes"] - 1
                if "mask_predictions" in wanted:
                    channels = ops.reshape(classes, (-1, 1, 1, 1))
                    logits = ops.take_along_axis(found["mask_predictions"], channels, axis=1)[:, 0]
                else:
                    logits = self._mask_logits(croppable, found["detection_boxes"], classes)
                found["detection_masks"] = ops.reshape(ops.sigmoid(logits), (-1, MAX_DETECTIONS, *logits.shape[1:]))
        found["anchors"] = self.anchors
        found["image_shape"] = ops.stack([ops.shape(pixels)[0], *pixels.shape[1:]])
        return {name: ops.cast(found[name], "float32") for name in outputs}, croppable

    def masks(self, croppable, boxes, image_indices, classes):
        """The third stage for chosen detections, each independent of the others.

        Args:
          croppable: from `detect` or `croppable`.
          boxes: float32 `[N, 4]`, detections' boxes, normalised.
          image_indices: int32 `[N]`, which image each is of.
          classes: int32 `[N]`, from 0.

        Returns:
          float32 `[N, 33, 33]` in [0, 1], relative to the boxes.
        """
        return ops.sigmoid(self.mask_head(self.crop_features(croppable, boxes, image_indices), classes))

    def croppable(self, features):
        """What crops are cut from: the features `[B, 64, 64, 1088]` and, as further channels, `Mixed7aReductions`."""
        features = ops.cast(features, self.mixed_7a_reductions.compute_dtype)
        return ops.concatenate([features, self.mixed_7a_reductions(features)], axis=-1)

    def _by_image(self, function, batch) -> Any:
        """`function(batch)`, one image at a time if `one_by_one`."""
        if not self.one_by_one:
            return function(batch)
        return ops.map(lambda image: keras.tree.map_structure(lambda x: x[0], function(image[None])), batch)

    def _propose(self, features, wanted, boxes_normalized, num_proposals):
        """First stage: outputs of the RPN, or the caller's boxes in their place."""
        found = {}
        external = boxes_normalized is not None
        rpn_names = {"rpn_box_encodings", "rpn_objectness_predictions_with_background", "rpn_box_predictor_features"}
        codes = logits = None
        if wanted & rpn_names or (wanted & _PROPOSALS and not external):
            codes, logits, hidden = self._by_image(self.rpn_head, features)
            found |= {
                "rpn_box_encodings": codes,
                "rpn_objectness_predictions_with_background": logits,
                "rpn_box_predictor_features": hidden,
            }
        if not wanted & _PROPOSALS:
            return found
        if external:
            boxes = boxes_normalized
            if num_proposals is None:
                num_proposals = ops.zeros_like(boxes[:, 0, 0], dtype="int32") + boxes.shape[1]
        else:
            boxes, num_proposals = select_proposals(codes, logits, self.anchors, INPUT_SIZE_HW)
            boxes = boxes / self._pixels(boxes)
        return found | {
            "proposal_boxes_normalized": boxes,
            "final_anchors": boxes,
            "num_proposals": num_proposals,
            "proposal_boxes": boxes * self._pixels(boxes),
        }

    def _classify(self, croppable, boxes_normalized, num_proposals, wanted):
        """Second stage: class and box of each proposal, and the detections."""
        num_slots = boxes_normalized.shape[1]
        codes, logits, tower_features = self.classify_boxes(
            croppable, boxes_normalized, with_features="box_classifier_features" in wanted
        )
        found = {
            "refined_box_encodings": codes,
            "class_predictions_with_background": logits,
            "box_classifier_features": tower_features,
        }
        codes, logits = (ops.reshape(x, (-1, num_slots, *x.shape[1:])) for x in (codes, logits))
        proposals = boxes_normalized * self._pixels(boxes_normalized)
        probabilities = ops.softmax(logits, axis=-1)
        found["raw_detection_scores"] = probabilities
        if "raw_detection_boxes" in wanted:
            found["raw_detection_boxes"] = best_class_boxes(codes, logits, proposals, INPUT_SIZE_HW)
        if wanted & _DETECTIONS:
            rows = select_detections(codes, probabilities, proposals, num_proposals, INPUT_SIZE_HW)
            valid = ops.arange(MAX_DETECTIONS) < rows["num_detections"][:, None]
            by_row = ops.take_along_axis(probabilities, rows["proposal_indices"][..., None], axis=1)
            found |= {
                "num_detections": rows["num_detections"],
                "detection_boxes": rows["boxes"],
                "detection_scores": rows["scores"],
                "detection_classes": rows["classes"] + 1,
                "detection_anchor_indices": rows["proposal_indices"],
                "detection_multiclass_scores": ops.where(valid[..., None], by_row, 0.0),
            }
        return found

    def classify_boxes(self, croppable, boxes_normalized, with_features: bool = False):
        """The second stage's network: box codes `[B * P, 90, 4]`, logits `[B * P, 91]`, the tower's features or None.

        Args:
          croppable: from `croppable`.
          boxes_normalized: float32 `[B, P, 4]`.
          with_features: whether the tower's features `[B * P, 9, 9, 1536]` are wanted.
        """

        def classify(boxes, image_indices):
            tower_features = self.crop_features(croppable, boxes, image_indices)
            return (*self.box_head(tower_features), *((tower_features,) if with_features else ()))

        codes, logits, *rest = self._in_chunks(classify, boxes_normalized)
        return codes, logits, rest[0] if rest else None

    def crop_features(self, croppable, boxes, image_indices):
        """The tower's features `[N, 9, 9, 1536]` of boxes, float32 `[N, 4]`, in maps of `croppable`."""
        crops = crop_and_resize(croppable, boxes, image_indices, CROP_HW)
        channels = self.tower.inputs[0].shape[-1]
        return self.tower([crops[..., :channels], crops[..., channels:]])

    def _mask_logits(self, croppable, boxes, classes=None) -> Any:
        """Logits `[B * 100, 33, 33]` of `classes`, int32 `[B, 100]`; of every class `[B * 100, 90, 33, 33]` if None."""

        def logits_of(boxes, image_indices, *classes):
            return self.mask_head(self.crop_features(croppable, boxes, image_indices), *classes)

        if classes is not None:
            return self._in_chunks(logits_of, boxes, classes)
        return ops.transpose(self._in_chunks(logits_of, boxes), (0, 3, 1, 2))

    @staticmethod
    def _in_chunks(function, boxes, *more) -> Any:
        """`function(boxes, image_indices, *more)`, a few rows at a time, for rows `[B, P, …]`; results `[B * P, …]`."""
        slots = boxes.shape[1]
        at_once = max(n for n in range(1, min(CROPS_AT_ONCE, slots) + 1) if slots % n == 0)
        image_indices = ops.repeat(ops.arange(ops.shape(boxes)[0], dtype="int32"), slots // at_once, axis=0)
        rows = [ops.reshape(x, (-1, at_once, *x.shape[2:])) for x in (boxes, *more)]

        def chunk(args):
            image_index, boxes, *more = args
            return function(boxes, ops.broadcast_to(image_index, (at_once,)), *more)

        results = ops.map(chunk, (image_indices, *rows))
        return keras.tree.map_structure(lambda x: ops.reshape(x, (-1, *x.shape[2:])), results)

    @staticmethod
    def _pixels(boxes):
        return ops.convert_to_tensor(np.array([*INPUT_SIZE_HW, *INPUT_SIZE_HW], np.float32), boxes.dtype)
