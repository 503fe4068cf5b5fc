"""Reads an export with a tool's own package and prints what it found as JSON, for `test_other_tools.py`.

    python readers.py TOOL FORMAT FOLDER

Runs in an environment of the tool alone: these packages want other versions of NumPy and pandas than labelbeam has.
So nothing of the project is imported here. Printed is {name: [{label, box, score, mask}]}: `name` of the image
without its extension, `box` in pixels (left, top, width, height), `score` None where the format has none, `mask` None
or {shape, at}: indices of its pixels.
"""

import json
import sys
from pathlib import Path

import numpy as np


def read_datumaro(format, folder):
    import datumaro

    options = {"coordinate_mode": "voc-one-based"} if format == "voc" else {}
    dataset = datumaro.Dataset.import_from(str(folder), format, **options)
    names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
    found = {}
    for item in dataset:
        of_group = {}
        for shape in item.annotations:  # the box and the mask of a detection are of one group
            of_group.setdefault(shape.group, {})[shape.type.name] = shape
        found[item.id] = [
            detection(
                names[shapes["bbox"].label],
                shapes["bbox"].get_bbox(),
                shapes["bbox"].attributes.get("score"),
                shapes["mask"].image if "mask" in shapes else None,
            )
            for shapes in of_group.values()
        ]
    return found


def read_label_studio(format, folder):
    from label_studio_sdk.converter import brush
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((folder / "label_config.xml").read_text())
    found = {}
    for task in json.loads((folder / "tasks.json").read_text()):
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction)
        shapes = found.setdefault(str(Path(task["data"]["image"]).with_suffix("")).split("images/")[1], [])
        masks = {region["parentID"]: region for region in prediction["result"] if region["type"] == "brushlabels"}
        for region in prediction["result"]:
            if region["type"] == "rectanglelabels":
                height, width = region["original_height"], region["original_width"]
                box = (
                    np.array([region["value"][side] for side in ("x", "y", "width", "height")])
                    * ([width, height] * 2)
                    / 100
                )
                rgba = brush.decode_rle(masks[region["id"]]["value"]["rle"]).reshape(height, width, 4)
                shapes.append(detection(region["value"]["rectanglelabels"][0], box, region["score"], rgba[..., 3] > 0))
    return found


def read_fiftyone(format, folder):
    from fiftyone.utils.data.importers import FiftyOneImageDetectionDatasetImporter

    found = {}
    with FiftyOneImageDetectionDatasetImporter(dataset_dir=str(folder), compute_metadata=True) as samples:
        for path, metadata, labels in samples:
            size = [metadata.width, metadata.height] * 2
            found[Path(path).stem] = [
                detection(one.label, np.array(one.bounding_box) * size, one.confidence, None)
                for one in (labels.detections if labels else [])
            ]
    return found


def detection(label, box, score, mask):
    pixels = None if mask is None else {"shape": list(mask.shape), "at": np.flatnonzero(mask).tolist()}
    return {"label": label, "box": [float(side) for side in box], "score": score, "mask": pixels}


if __name__ == "__main__":
    tool, format, folder = sys.argv[1:]
    readers = {"datumaro": read_datumaro, "label-studio-sdk": read_label_studio, "fiftyone": read_fiftyone}
    print(json.dumps(readers[tool](format, Path(folder))))
