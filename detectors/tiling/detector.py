"""A detector that looks at large images tile by tile, behind the `Detector` protocol as any other."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..protocol import Detections, Detector
from .grid import Window, windows
from .masks import relative_to_boxes
from .merge import rows_kept
from .options import TileOptions
from .reduce import factor_for, reduced

TILES_AT_ONCE = 32  # tiles that are handed to the detector together: enough to fill its batches
TILE_BYTES_AT_ONCE = 64 << 20  # so many of their pixels, where tiles are large: larger ones are copies, reduced to it
EDGE_SHARE = 0.01  # a box that comes so near to an inner edge, in sides of the tile, is cut by it
ROWS_AT_ONCE = 20  # times the detections wanted: so many are kept, masks and all, until all tiles have been seen


class TiledDetector:
    """Any detector, given tiles of large images instead of the images.

    Args:
      detector: sees the tiles; its own limit of detections is one of a tile.
      tiles: how images are cut.
      max_detections: of an image.
    """

    def __init__(self, detector: Detector, tiles: TileOptions, max_detections: int):
        self._detector = detector
        self._tiles = tiles
        self._max_detections = max_detections

    @property
    def batches(self) -> bool:
        return self._detector.batches

    @property
    def device(self) -> str:
        """What the detector computes on; empty if it doesn't say."""
        return getattr(self._detector, "device", "")

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`. Tiles of several images share the detector's calls."""
        found = [_ImageDetections(image.shape[:2], self._max_detections) for image in images]
        views = [
            (index, window) for index, image in enumerate(images) for window in windows(image.shape[:2], self._tiles)
        ]
        at_once = min(TILES_AT_ONCE, max(1, TILE_BYTES_AT_ONCE // (3 * math.prod(self._tiles.size_hw))))
        for start in range(0, len(views), at_once):
            some = views[start : start + at_once]
            factors = [factor_for(window.size_hw, self._tiles.size_hw) for _, window in some]
            pixels = [reduced(window.of(images[i]), factor) for (i, window), factor in zip(some, factors, strict=True)]
            for (index, window), seen, factor, detections in zip(
                some, pixels, factors, self._detector.detect(pixels), strict=True
            ):
                found[index].add(window, (seen.shape[0] * factor, seen.shape[1] * factor), detections)
        return [image.merged() for image in found]


class _ImageDetections:
    """What tiles have found in one image so far.

    Args:
      size_hw: of the image in pixels.
      max_detections: of the image.
    """

    def __init__(self, size_hw: tuple[int, int], max_detections: int):
        self._size = np.array(size_hw * 2, np.float32)
        self._max_detections = max_detections
        self._found: list[Detections] = []
        self._cut: list[np.ndarray] = []
        self._num_dropped = 0

    def add(self, window: Window, size_hw: tuple[int, int], detections: Detections) -> None:
        """Adds what was found in a window of the image.

        Args:
          size_hw: of what was seen of it, in the image's pixels: up to one reduced pixel more than the window.
        """
        if detections.masks is not None and detections.mask_boxes_yxyx is not None:
            masks = relative_to_boxes(detections.masks, detections.mask_boxes_yxyx, detections.boxes_yxyx)
            detections = replace(detections, masks=masks, mask_boxes_yxyx=None)
        origin, size = np.array(window[:2] * 2, np.float32), np.array(size_hw * 2, np.float32)
        ends = np.array(window.size_hw * 2, np.float32) / size
        inside = np.minimum(detections.boxes_yxyx, ends)  # of what was seen, from 0 to 1
        inner = np.array(window) != np.concatenate([np.zeros(2), self._size[:2]])
        near = np.concatenate([inside[:, :2], ends[2:] - inside[:, 2:]], axis=1) < EDGE_SHARE
        self._found.append(replace(detections, boxes_yxyx=(inside * size + origin) / self._size))
        self._cut.append((near & inner).any(axis=1))
        self._num_dropped += detections.num_dropped
        if sum(map(len, self._found)) > ROWS_AT_ONCE * self._max_detections:
            self._keep(self._rows()[: ROWS_AT_ONCE * self._max_detections // 2])

    def merged(self) -> Detections:
        """The image's detections, best first."""
        if len(self._found) == 1 and len(self._found[0]) <= self._max_detections:
            return self._found[0]
        self._keep(self._rows()[: self._max_detections])
        return replace(self._found[0], num_dropped=self._num_dropped)

    def _rows(self) -> np.ndarray:
        boxes, class_ids, scores = (
            np.concatenate([getattr(found, name) for found in self._found])
            for name in ("boxes_yxyx", "class_ids", "scores")
        )
        return rows_kept(boxes * self._size, class_ids, scores, np.concatenate(self._cut))

    def _keep(self, rows: np.ndarray) -> None:
        def taken(name: str) -> np.ndarray:
            return np.concatenate([getattr(found, name) for found in self._found])[rows]

        masks = None if any(found.masks is None for found in self._found) else taken("masks")
        self._cut = [np.concatenate(self._cut)[rows]]
        self._found = [Detections(taken("boxes_yxyx"), taken("class_ids"), taken("scores"), masks)]
