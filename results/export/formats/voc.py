"""Pascal VOC (host.robots.ox.ac.uk/pascal/VOC): `Annotations/<stem>.xml`, `JPEGImages/`, `ImageSets/Main/trainval.txt`.

Boxes count pixels from 1, as VOC does: the first column of pixels is 1, the last one the image's width; they keep their
fractions. `labelmap.txt` names the classes, for tools that take others than VOC's twenty. Not for masks: VOC's can't
overlap.
"""

from xml.etree import ElementTree

from ..writer import Dataset, ExportedImage, Writer


class VocWriter(Writer):
    images_folder = "JPEGImages"
    flat_names = True

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        lines = ["# label:color_rgb:parts:actions", *(f"{name}:::" for name in dataset.categories.values())]
        self.write_text("labelmap.txt", "\n".join(lines) + "\n")
        self._stems = self.open("ImageSets/Main/trainval.txt")

    def add(self, image: ExportedImage) -> None:
        labels = image.labels
        root = ElementTree.Element("annotation")
        _add_all(root, folder=self.images_folder, filename=image.name)
        _add_all(ElementTree.SubElement(root, "source"), database="labelbeam", annotation=labels.uri)
        height, width = labels.size_hw
        _add_all(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
        _add_all(root, segmented=0)
        for name, (x, y, w, h) in zip(labels.class_names, labels.boxes_xywh.tolist(), strict=True):
            found = ElementTree.SubElement(root, "object")
            _add_all(found, name=name, pose="Unspecified", truncated=0, difficult=0)
            # VOC's pixels are whole ones and both ends belong to the box: from the edge x, its first pixel is x + 1.
            _add_all(
                ElementTree.SubElement(found, "bndbox"),
                xmin=f"{x + 1:.4f}",
                ymin=f"{y + 1:.4f}",
                xmax=f"{x + w:.4f}",
                ymax=f"{y + h:.4f}",
            )
        ElementTree.indent(root)
        self.write_text(f"Annotations/{image.stem}.xml", ElementTree.tostring(root, encoding="unicode") + "\n")
        self._stems.write(f"{image.stem}\n")


def _add_all(parent: ElementTree.Element, **children: object) -> None:
    for name, text in children.items():
        ElementTree.SubElement(parent, name).text = str(text)
