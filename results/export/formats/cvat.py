"""CVAT for images 1.1 (docs.cvat.ai/docs/dataset_management/formats/format-cvat): one `annotations.xml`, uploaded to a
task.

A detection is a box and, if it has a mask, a mask of the same group, pixel for pixel. Not for scores: CVAT takes
attributes only where a task's labels declare them.
"""

from typing import Any, cast
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np

from ..writer import Dataset, ExportedImage, Writer


class CvatWriter(Writer):
    file_name = "annotations.xml"

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self._xml = XMLGenerator(cast(Any, self.open("annotations.xml")), "utf-8", short_empty_elements=True)
        self._xml.startDocument()
        self._start("annotations")
        self._element("version", "1.1")
        for name in ("meta", "task", "labels"):
            self._start(name)
        for category in dict.fromkeys(dataset.categories.values()):
            self._start("label")
            self._element("name", category)
            self._start("attributes")
            self._end("attributes")
            self._end("label")
        for name in ("labels", "task", "meta"):
            self._end(name)

    def add(self, image: ExportedImage) -> None:
        labels = image.labels
        height, width = labels.image_size_hw
        self._start("image", id=image.number - 1, name=image.name, width=width, height=height)
        for index, (name, (x, y, w, h)) in enumerate(zip(labels.class_names, labels.boxes_xywh.tolist(), strict=True)):
            shape = {"label": name, "source": "auto", "occluded": 0, "z_order": 0}
            mask = labels.mask(index)
            if mask is not None:
                shape["group_id"] = index + 1
            self._start("box", **shape, xtl=f"{x:.4f}", ytl=f"{y:.4f}", xbr=f"{x + w:.4f}", ybr=f"{y + h:.4f}")
            self._end("box")
            if mask is not None and mask.any():
                self._start("mask", **shape, **_mask_attributes(mask))
                self._end("mask")
        self._end("image")

    def finish(self) -> None:
        self._end("annotations")
        self._xml.endDocument()

    def _start(self, element: str, /, **attributes: object) -> None:
        self._xml.startElement(element, AttributesImpl({key: str(value) for key, value in attributes.items()}))

    def _end(self, name: str) -> None:
        self._xml.endElement(name)
        self._xml.ignorableWhitespace("\n")

    def _element(self, name: str, text: str) -> None:
        self._start(name)
        self._xml.characters(text)
        self._end(name)


def _mask_attributes(mask: np.ndarray) -> dict[str, object]:
    """The smallest box around a mask, and the lengths of its runs in it, row after row, background first."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].ravel()
    bounds = np.flatnonzero(np.diff(inside, prepend=False))
    runs = np.diff(bounds, prepend=0, append=inside.size)
    return {
        "rle": ", ".join(map(str, runs.tolist())),
        "left": columns[0],
        "top": rows[0],
        "width": columns[-1] + 1 - columns[0],
        "height": rows[-1] + 1 - rows[0],
    }
