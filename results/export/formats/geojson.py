"""GeoJSON (RFC 7946), a file an image, in the image's pixels from its upper left corner: what QuPath and GIS tools
open.

A detection with a mask is a MultiPolygon with its holes, one without a Polygon of its box; `bbox` is the box in either
case. Not on the earth: whoever has an image's geotransform applies it to the coordinates.
"""

from typing import Any

import numpy as np

from ...drawing.colours import class_colours
from ...polygons import mask_polygons
from ..writer import Dataset, ExportedImage, Writer, shortest, to_json


class GeoJsonWriter(Writer):
    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self._colours = class_colours(dataset.settings)

    def add(self, image: ExportedImage) -> None:
        labels = image.labels
        features = [
            {
                "type": "Feature",
                "id": f"{labels.image_id}-{index}",
                "bbox": [x, y, x + w, y + h],
                "geometry": self._geometry(labels.mask(index), x, y, w, h),
                "properties": {
                    "objectType": "annotation",
                    "score": score,
                    "classification": {"name": name, "color": self._colours[name]},
                },
            }
            for index, (name, score, (x, y, w, h)) in enumerate(
                zip(labels.class_names, shortest(labels.scores), shortest(labels.boxes_xywh), strict=True)
            )
        ]
        self.write_text(
            f"labels/{image.name}.geojson",
            to_json({"type": "FeatureCollection", "image": image.name, "uri": labels.uri, "features": features}),
        )

    def _geometry(self, mask: np.ndarray | None, x: float, y: float, w: float, h: float) -> dict[str, Any]:
        if mask is None:
            ring = [[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]
            return {"type": "Polygon", "coordinates": [ring]}
        polygons = mask_polygons(mask, self.dataset.polygon_tolerance_px)
        return {
            "type": "MultiPolygon",
            "coordinates": [[_closed(ring) for ring in (polygon.exterior, *polygon.holes)] for polygon in polygons],
        }


def _closed(ring: np.ndarray) -> list[list[float]]:
    return [*ring.tolist(), ring[0].tolist()]
