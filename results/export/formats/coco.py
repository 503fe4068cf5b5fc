"""COCO's instances JSON (cocodataset.org/#format-data): what most training code and labelling tools import.

Masks are run-length encodings, pixel for pixel. `score` is added to each annotation; loaders pass over it.
"""

import shutil
from typing import Any

from ..writer import Dataset, ExportedImage, JsonItems, Writer, shortest, to_json


class CocoWriter(Writer):
    """Images go straight to the file, annotations to one beside it, which is appended at the end and taken away."""

    file_name = "annotations/instances_default.json"  # where CVAT and Datumaro look for it
    _spool_name = "annotations.spool"

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self._file, self._spool = self.open("annotations/instances_default.json"), self.open(self._spool_name)
        self._images, self._annotations = JsonItems(self._file), JsonItems(self._spool)
        self._num_annotations = 0
        categories = [{"id": id, "name": name, "supercategory": ""} for id, name in dataset.categories.items()]
        info = {"description": f"labels by labelbeam with detector {dataset.settings.get('detector', 'unknown')}"}
        self._file.write(
            f'{{"info": {to_json(info)},\n"licenses": [],\n"categories": {to_json(categories)},\n"images": [\n'
        )

    def add(self, image: ExportedImage) -> None:
        height, width = image.labels.image_size_hw
        self._images.write(
            {"id": image.number, "file_name": image.name, "width": width, "height": height, "uri": image.labels.uri}
        )
        for found, mask_ref in zip(coco_detections(image, image.number), image.labels.mask_refs, strict=True):
            self._num_annotations += 1
            w, h = found["bbox"][2:]
            area = w * h if mask_ref is None else image.labels.areas[mask_ref]
            self._annotations.write({"id": self._num_annotations, **found, "area": area, "iscrowd": 0})

    def finish(self) -> None:
        self._file.write('\n],\n"annotations": [\n')
        self._spool.close()
        spool = self.folder / self._spool_name
        with open(spool, encoding="utf-8") as annotations:
            shutil.copyfileobj(annotations, self._file)
        spool.unlink()
        self._file.write("\n]}\n")


def coco_detections(image: ExportedImage, image_id: int) -> list[dict[str, Any]]:
    """What annotations and results have in common: category, box, score, and the mask if there is one."""
    labels = image.labels
    found = []
    for index, (class_id, box, score) in enumerate(
        zip(labels.class_ids.tolist(), shortest(labels.boxes_xywh), shortest(labels.scores), strict=True)
    ):
        row = {"image_id": image_id, "category_id": class_id, "bbox": box, "score": score}
        if (counts := labels.rle(index)) is not None:
            row["segmentation"] = {"size": list(labels.image_size_hw), "counts": counts}
        found.append(row)
    return found
