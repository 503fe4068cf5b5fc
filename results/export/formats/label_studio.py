"""Label Studio's tasks with predictions (labelstud.io/guide/predictions): `tasks.json`, and `label_config.xml` for the
project.

Masks are brush regions, pixel for pixel, each below its rectangle. An image is named by its URI; of one on this
machine, by the path that Label Studio serves local files at (with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/).
"""

import os
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from ....labelset.masks import decode_counts, decode_rle, encode_rle
from ....storage.uris import absolute, existing_file
from ..images import is_local_file
from ..writer import Dataset, ExportedImage, JsonItems, Writer, edges_xyxy

_RUN_BITS = (3, 4, 8, 16)  # a run's length takes one of these numbers of bits
_MASKED, _CLEAR = 255, 0


class LabelStudioWriter(Writer):
    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self.write_text("label_config.xml", _label_config(dataset))
        self._file = self.open("tasks.json")
        self._file.write("[\n")
        self._tasks = JsonItems(self._file)

    def add(self, image: ExportedImage) -> None:
        labels = image.labels
        result = []
        height, width = labels.image_size_hw
        boxes = edges_xyxy(labels) / ([width / 100, height / 100] * 2)
        for index, (name, score, (left, top, right, bottom)) in enumerate(
            zip(labels.class_names, labels.scores.tolist(), boxes.tolist(), strict=True)
        ):
            region = {
                "to_name": "image",
                "image_rotation": 0,
                "original_width": width,
                "original_height": height,
                "score": score,
            }
            result.append(
                {
                    "id": f"box{index}",
                    "from_name": "box",
                    "type": "rectanglelabels",
                    **region,
                    "value": {
                        "x": left,
                        "y": top,
                        "width": right - left,
                        "height": bottom - top,
                        "rotation": 0,
                        "rectanglelabels": [name],
                    },
                }
            )
            if (counts := labels.rle(index)) is not None:
                mask = encode_brush(counts, height, width)
                result.append(
                    {
                        "id": f"mask{index}",
                        "parentID": f"box{index}",
                        "from_name": "mask",
                        "type": "brushlabels",
                        **region,
                        "value": {"format": "rle", "rle": mask, "brushlabels": [name]},
                    }
                )
        prediction: dict[str, Any] = {
            "model_version": self.dataset.settings.get("detector", "labelbeam"),
            "result": result,
        }
        if len(labels.scores):
            prediction["score"] = float(labels.scores.mean(dtype=np.float64))
        self._tasks.write(
            {
                "data": {"image": self._url(image), "uri": labels.uri, "image_id": labels.image_id},
                "predictions": [prediction],
            }
        )

    def finish(self) -> None:
        self._file.write("\n]\n")

    def _url(self, image: ExportedImage) -> str:
        if image.image is not None:
            path = str(self.dataset.final_folder / image.image)
        elif is_local_file(image.labels.uri):
            path = existing_file(image.labels.uri) or absolute(image.labels.uri)
        else:
            return image.labels.uri
        return f"/data/local-files/?d={quote(os.fsencode(path.lstrip('/')))}"


def _label_config(dataset: Dataset) -> str:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    for tag, name in (("RectangleLabels", "box"), ("BrushLabels", "mask"))[: 1 + dataset.has_masks]:
        control = ElementTree.SubElement(view, tag, name=name, toName="image")
        for category in dict.fromkeys(dataset.categories.values()):
            ElementTree.SubElement(control, "Label", value=category)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def encode_brush(counts: str, height: int, width: int) -> list[int]:
    """A mask as Label Studio's brush keeps it: the bytes of a bit stream, thi.ng/rle-pack's, of the RGBA image row by
    row.

    It has a head (number of values, bits of a value, bits of the four kinds of lengths, these less one), then runs: 1,
    which kind of length, the length less one, the value.

    Args:
      counts: COCO's compressed encoding, column after column.
    """
    by_rows = encode_rle(decode_rle(counts, height, width).T)
    runs = decode_counts(by_rows) * 4  # four channels, all alike
    bits = [f"{height * width * 4:032b}", f"{8 - 1:05b}", *(f"{n - 1:04b}" for n in _RUN_BITS)]
    for index, run in enumerate(runs.tolist()):
        value = f"{_MASKED if index % 2 else _CLEAR:08b}"
        while run:
            kind = next((kind for kind, n in enumerate(_RUN_BITS) if run <= 1 << n), len(_RUN_BITS) - 1)
            length = min(run, 1 << _RUN_BITS[kind])
            bits.append(f"1{kind:02b}{length - 1:0{_RUN_BITS[kind]}b}{value}")
            run -= length
    stream = "".join(bits)
    num_bytes = -(-len(stream) // 8)
    return list(int(stream.ljust(8 * num_bytes, "0"), 2).to_bytes(num_bytes, "big"))
