"""Ultralytics' YOLO dataset of masks (docs.ultralytics.com/datasets/segment): as `yolo`, with a polygon a detection.

The format has one ring for each: pieces and holes are joined to it by lines there and back, as Ultralytics' own
converter does. Not for detections whose mask has no pixels; those are left out.
"""

from collections.abc import Iterator

import numpy as np

from ...polygons import joined_ring, mask_polygons
from ..writer import ExportedImage
from .yolo import YoloWriter


class YoloSegWriter(YoloWriter):
    needs_masks = True

    def _shapes(self, image: ExportedImage) -> Iterator[tuple[int, np.ndarray]]:
        """Class id and numbers of each detection: x, y of the ring's points, as fractions of the image's sides."""
        height, width = image.labels.image_size_hw
        for index, class_id in enumerate(image.labels.class_ids.tolist()):
            mask = image.labels.mask(index)
            polygons = [] if mask is None else mask_polygons(mask, self.dataset.polygon_tolerance_px)
            if not polygons:
                self.left_out["their mask has no pixels"] += 1
                continue
            yield class_id, (joined_ring(polygons) / [width, height]).ravel()
