"""Ultralytics' YOLO dataset of boxes (docs.ultralytics.com/datasets/detect): `labels/<stem>.txt`, `images/`,
`data.yaml`.

Classes are counted from 0 in the order of their ids; `data.yaml` names them. Not for scores: loaders take a sixth
number for the beginning of a polygon. Boxes are clipped to the image, since loaders refuse what lies outside.
"""

from collections.abc import Iterator

import numpy as np
import yaml

from ..writer import Dataset, ExportedImage, Writer, edges_xyxy


class YoloWriter(Writer):
    flat_names = True  # Ultralytics finds labels by replacing the last `/images/` of a path

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self._indices = {id: index for index, id in enumerate(dataset.categories)}
        # Without `path`, the other paths start at this file's folder.
        content = {"train": "images", "val": "images", "names": dict(enumerate(dataset.categories.values()))}
        self.write_text("data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def add(self, image: ExportedImage) -> None:
        lines = [
            f"{self._indices[class_id]} {' '.join(f'{value:.8g}' for value in values)}\n"
            for class_id, values in self._shapes(image)
        ]
        self.write_text(f"labels/{image.stem}.txt", "".join(lines))

    def _shapes(self, image: ExportedImage) -> Iterator[tuple[int, np.ndarray]]:
        """Class id and numbers of each detection: centre, width, height, as fractions of the image's sides."""
        height, width = image.labels.image_size_hw
        xyxy = edges_xyxy(image.labels) / ([width, height] * 2)
        cxcywh = np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], axis=1)
        yield from zip(image.labels.class_ids.tolist(), cxcywh, strict=True)
