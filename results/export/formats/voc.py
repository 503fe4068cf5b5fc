"""Pascal VOC (host.robots.ox.ac.uk/pascal/VOC): `Annotations/<stem>.xml`, `JPEGImages/`, `ImageSets/Main/trainval.txt`.

Boxes count pixels from 1, as VOC does: the first column of pixels is 1, the last one the image's width; they keep their
fractions. `labelmap.txt` names the classes, for tools that take others than VOC's twenty. Masks are left out: VOC's
can't overlap.
"""

import re
from xml.etree import ElementTree

from ..writer import Dataset, ExportedImage, Writer, xml_text


class VocWriter(Writer):
    images_folder = "JPEGImages"
    flat_names = True

    @staticmethod
    def class_name(name: str) -> str:
        """`labelmap.txt` has a class a line, which ends at a colon, and is a comment after `#`."""
        return re.sub(r"\A#", "_", name.replace(":", "_"))

    def __init__(self, folder, dataset: Dataset):
        super().__init__(folder, dataset)
        lines = ["# label:color_rgb:parts:actions", *(f"{name}:::" for name in dataset.categories.values())]
        self.write_text("labelmap.txt", "\n".join(lines) + "\n")
        self._stems = self.open("ImageSets/Main/trainval.txt")

    def add(self, image: ExportedImage) -> None:
        labels = image.labels
        root = ElementTree.Element("annotation")
        _add_all(root, folder=self.images_folder, filename=image.name)
        _add_all(ElementTree.SubElement(root, "source"), database="labelbeam", annotation=xml_text(labels.uri))
        height, width = labels.image_size_hw
        _add_all(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
        _add_all(root, segmented=0)
        for name, (x, y, w, h) in zip(labels.class_names, labels.boxes_xywh.tolist(), strict=True):
            if w <= 1 or h <= 1:  # its first pixel would be its last, which readers take for no area
                self.left_out["their box is no wider or higher than a pixel"] += 1
                continue
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
