"""`labelbeam export`: a label set as what labelling tools and training code import.

    survey ─ first pass: how many, which classes      run ─ second pass: each image to the format's Writer
    names ─ a name for each image and class           boxes ─ what of a detection every format can hold
    images ─ copies or links                          writer ─ the interface of a format, formats/ ─ one file each

To add a format: a module in `formats/` with a subclass of `writer.Writer` that writes one image at a time, its line in
`FORMATS`, a section in `docs/export.md`, and a test that reads the export back with the tool's own reader, or with an
independent parser where that can't be installed.
"""

from importlib import import_module

FORMATS = {  # what --format takes -> module, class; imported when asked for
    "coco": ("coco", "CocoWriter"),
    "coco-results": ("coco_results", "CocoResultsWriter"),
    "yolo": ("yolo", "YoloWriter"),
    "yolo-seg": ("yolo_seg", "YoloSegWriter"),
    "voc": ("voc", "VocWriter"),
    "label-studio": ("label_studio", "LabelStudioWriter"),
    "cvat": ("cvat", "CvatWriter"),
    "fiftyone": ("fiftyone", "FiftyOneWriter"),
    "geojson": ("geojson", "GeoJsonWriter"),
    "megadetector": ("megadetector", "MegaDetectorWriter"),
}


def writer_class(format: str):
    """The `Writer` of a format that `FORMATS` names."""
    module, name = FORMATS[format]
    return getattr(import_module(f".formats.{module}", __name__), name)
