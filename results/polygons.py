"""Masks as polygons, for tools that want outlines: scikit-image's contours, sorted into pieces and their holes.

Coordinates are the image's: pixel (0, 0) covers 0 to 1. A contour runs between the centres of the mask's pixels and of
those beside it, so whoever fills the polygons where pixels' centres lie inside gets the mask again, bit for bit
(tolerance 0). Not for formats that take run lengths: those are exact whatever the reader does, and smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..storage.errors import UsageError
from ..storage.installation import install_hint


@dataclass(frozen=True)
class MaskPolygon:
    """One piece of a mask.

    Attributes:
      exterior: float64 `[n, 2]`, x and y in pixels, the first point isn't repeated; in the order that RFC 7946 wants.
      holes: likewise.
    """

    exterior: np.ndarray
    holes: tuple[np.ndarray, ...] = ()


def mask_polygons(mask: np.ndarray, tolerance_px: float = 0.0) -> list[MaskPolygon]:
    """The pieces of a mask: pixels that touch at corners only are different pieces.

    Args:
      mask: bool `[height, width]`.
      tolerance_px: how far the simplified line may be from the outline (Douglas and Peucker); 0 drops only points in
        line.

    Returns:
      Largest first; empty if the mask has no pixels.

    Raises:
      UsageError: if scikit-image isn't installed.
    """
    measure = _skimage_measure()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    inside = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1).astype(np.float32)
    # The centre of the padded array's pixel (1, 1) is half a pixel from that of the mask's box.
    offset_xy = np.array([columns[0], rows[0]]) - 0.5
    rings = [
        contour[:-1, ::-1] + offset_xy
        for contour in measure.find_contours(inside, 0.5, fully_connected="low", positive_orientation="low")
    ]
    areas = [_signed_area(ring) for ring in rings]
    pieces = sorted(
        ((area, ring) for area, ring in zip(areas, rings, strict=True) if area > 0), key=lambda piece: piece[0]
    )
    holes: list[list[np.ndarray]] = [[] for _ in pieces]
    for area, ring in zip(areas, rings, strict=True):
        if (
            area < 0
        ):  # contours never touch; of the pieces around it the smallest, since a piece may lie in another's hole
            around = next(i for i, (_, piece) in enumerate(pieces) if measure.points_in_poly(ring[:1], piece)[0])
            holes[around].append(_simplify(ring, tolerance_px))
    return [
        MaskPolygon(_simplify(ring, tolerance_px), tuple(inner))
        for (_, ring), inner in zip(pieces[::-1], holes[::-1], strict=True)
    ]


def joined_ring(polygons: Sequence[MaskPolygon]) -> np.ndarray:
    """All pieces and holes as one ring, for formats that have no more: float64 `[n, 2]`.

    Each is joined to what is there by a line from its nearest point, there and back, which encloses nothing: filled by
    the even-odd rule it's the same area. (Fillers that draw outlines as well, as OpenCV's, draw these lines, one pixel
    wide.)

    Args:
      polygons: at least one.
    """
    from scipy.spatial import KDTree

    first, *others = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.holes)]
    joined = first
    for ring in others:
        distances, nearest = map(np.asarray, KDTree(joined).query(ring))
        start = int(distances.argmin())
        at = int(nearest[start])
        there_and_back = np.concatenate([ring[start:], ring[: start + 1], joined[at : at + 1]])
        joined = np.concatenate([joined[: at + 1], there_and_back, joined[at + 1 :]])
    return joined


def _signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def _simplify(ring: np.ndarray, tolerance_px: float) -> np.ndarray:
    """A ring with fewer points; without those in line where a tolerance would leave less than a triangle."""
    if tolerance_px > 0:
        fewer = _skimage_measure().approximate_polygon(np.concatenate([ring, ring[:1]]), tolerance_px)[:-1]
        if len(fewer) >= 3:
            return fewer
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _skimage_measure():
    try:
        from skimage import measure
    except ModuleNotFoundError as error:
        raise UsageError(f"polygons need scikit-image: {install_hint('export')}") from error
    return measure
