"""FiftyOne's image detection dataset (docs.voxel51.com, `FiftyOneImageDetectionDataset`): `labels.json`, images in
`data/`.

Boxes, scores, and the `image_id` as an attribute. Without copies or links, images are named by their absolute paths.
Not for masks: this dataset has none; FiftyOne reads them from `--format coco`.
"""

from ....storage.uris import absolute
from ..writer import Dataset, ExportedImage, Writer, to_json


class FiftyOneWriter(Writer):
    """The items of one JSON object are written one by one."""

    images_folder = "data"
    flat_names = True
    reads_uris = False

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self._indices = {id: index for index, id in enumerate(dataset.categories)}
        self._file = self.open("labels.json")
        self._file.write(f'{{"classes": {to_json(list(dataset.categories.values()))},\n"labels": {{')
        self._separator = "\n"

    def add(self, image: ExportedImage) -> None:
        labels = image.labels
        height, width = labels.image_size_hw
        boxes = labels.boxes_xywh / ([float(width), float(height)] * 2)
        found = [
            {
                "label": self._indices[class_id],
                "bounding_box": box,
                "confidence": score,
                "attributes": {"image_id": labels.image_id},
            }
            for class_id, box, score in zip(
                labels.class_ids.tolist(), boxes.tolist(), labels.scores.tolist(), strict=True
            )
        ]
        key = image.stem if image.image else absolute(labels.uri)
        self._file.write(f"{self._separator}{to_json(key)}: {to_json(found)}")
        self._separator = ",\n"

    def finish(self) -> None:
        self._file.write("\n}}\n")
