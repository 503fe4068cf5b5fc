"""COCO's results JSON (cocodataset.org/#format-results): what `COCO.loadRes` and its evaluation read.

`image_id` is the number that `--format coco` gives the image. Not for evaluating against annotations of other numbers.
"""

from ..writer import Dataset, ExportedImage, JsonItems, Writer
from .coco import coco_detections


class CocoResultsWriter(Writer):
    file_name = "results.json"

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self._file = self.open("results.json")
        self._file.write("[\n")
        self._results = JsonItems(self._file)

    def add(self, image: ExportedImage) -> None:
        for found in coco_detections(image, image.number):
            self._results.write(found)

    def finish(self) -> None:
        self._file.write("\n]\n")
