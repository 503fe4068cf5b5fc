"""MegaDetector's batch output (github.com/agentmorris/MegaDetector, "Batch processing output format"): one JSON file.

What camera-trap tools read: Timelapse, MegaDetector's postprocessing, EcoAssist. Boxes and scores; no masks.
"""

from ..writer import Dataset, ExportedImage, JsonItems, Writer, shortest, to_json

_FORMAT_VERSION = "1.4"


class MegaDetectorWriter(Writer):
    file_name = "detections.json"

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        self._file = self.open("detections.json")
        info = {"format_version": _FORMAT_VERSION, "detector": str(dataset.settings.get("detector", "unknown"))}
        categories = {str(id): name for id, name in dataset.categories.items()}
        self._file.write(f'{{"info": {to_json(info)},\n"detection_categories": {to_json(categories)},\n"images": [\n')
        self._images = JsonItems(self._file)

    def add(self, image: ExportedImage) -> None:
        labels = image.labels
        height, width = labels.image_size_hw
        boxes = (labels.boxes_xywh / [width, height, width, height]).tolist()
        detections = [
            {"category": str(id), "conf": score, "bbox": box}
            for id, score, box in zip(labels.class_ids.tolist(), shortest(labels.scores), boxes)
        ]
        self._images.write({"file": image.name, "width": width, "height": height, "detections": detections})

    def finish(self) -> None:
        self._file.write("\n]}\n")
