"""Output folders made by the real writer, from a few words."""

from datetime import datetime, timedelta, timezone

import numpy as np
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset import schemas
from labelbeam.labelset.counting import counting_parts
from labelbeam.labelset.parts import Part, count_part, list_parts, new_stem, read_part, write_part
from labelbeam.transforms.elements import FailedImage, ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.to_rows import RowOptions, image_rows

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TABLES = ("images", "detections")


def reference(name: str) -> ImageReference:
    return ImageReference(f"/images/{name}.jpg")


def part_tables(names, failed=(), minute=0, num_detections=2, tables=TABLES):
    """Tables of a part: an image for each name, labelled in this minute; those in `failed` failed."""
    found = Detections(
        np.tile(np.float32([0, 0, 1, 1]), (num_detections, 1)),
        np.ones(num_detections, np.int32),
        np.linspace(0.9, 0.5, num_detections, dtype=np.float32),
    )
    rows = [
        image_rows(
            FailedImage(reference(name), ImageFacts(1, 64, 48), "timeout", "slow")
            if name in failed
            else LabelledImage(reference(name), ImageFacts(1, 64, 48), found),
            RowOptions({1: "ball"}),
            START + timedelta(minutes=minute),
        )
        for name in names
    ]
    return {table: schemas.build_table(table, rows, {"labelbeam.label_set": "{}"}) for table in tables}


def put_part(folder, names, job="job", **options) -> str:
    """Writes a part; returns its stem."""
    stem = new_stem(job)
    write_part(str(folder), stem, part_tables(names, **options))
    return stem


def parts_of(folder) -> dict[str, Part]:
    """All finished parts, by stem."""
    return {stem: count_part(str(folder), stem, sizes) for stem, sizes in list_parts(str(folder)).items()}


def rows_of(folder, table, stems) -> list[dict]:
    return [row for stem in stems for row in read_part(str(folder), stem, table).to_pylist()]


def labelled_names(output, status=None) -> list[str]:
    """Names of the images that count, or of those with this status."""
    rows = []
    for stem in counting_parts(str(output)):
        rows += read_part(str(output), stem, "images", ["uri", "status"]).to_pylist()
    names = [
        row["uri"].removeprefix("/images/").removesuffix(".jpg") for row in rows if status in (None, row["status"])
    ]
    return sorted(names)
