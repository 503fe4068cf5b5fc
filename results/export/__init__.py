"""`labelbeam export`: an output folder's labels as what labelling tools and training code import.

    survey ─ first pass: how many, which classes, what they're called      run ─ second pass: each image to the format's
    Writer names ─ a file name for each image      images ─ copies or links      writer ─ the interface of a format

Not for queries (`docs/tables.md`) nor for measuring against annotations. To add a format: a module with a subclass of
`writer.Writer` that writes one image at a time, its line in `FORMATS`, a section in `docs/export.md`, and a test that
reads the export back with the tool's own reader, or with an independent parser where that can't be installed.
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
}


def writer_class(format: str):
    """The `Writer` of a format that `FORMATS` names."""
    module, name = FORMATS[format]
    return getattr(import_module(f".{module}", __name__), name)
