"""Label sets of any number of small parts, put into a `CountingS3` without a request."""

import io
import json
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from labelbeam.labelset.label_set_file import FORMAT_VERSION, LABEL_SET_FILE, LabelSet
from labelbeam.labelset.log import BEGIN, CLOSE, append
from labelbeam.labelset.part_files import write_file
from labelbeam.labelset.parts import Part

from tests.fakes.folders_of_parts import part_tables

from .s3 import CountingS3

LABEL_SET = LabelSet({"detector": "generated"})
FIRST_JOB = "20260101T000000-aaaaaa"
OUTPUT = "s3://bucket/out"


def put_part(store: CountingS3, job: str, image_ids: list[str]) -> Part:
    """Puts a part with these images, in the order of their ids; a detection each."""
    return _put(store, job, _template(len(image_ids)), sorted(image_ids))


def put_label_set(
    store: CountingS3, num_parts: int, images_a_part: int = 4, job: str = "20260101T000000-aaaaaa"
) -> list[Part]:
    """A label set that one job has written and closed, of parts that were not compacted: anew, all else is deleted."""
    for key in list(store.objects):
        store.remove(key)
    template = _template(images_a_part)
    parts = [_put(store, job, template, random_ids(images_a_part)) for _ in range(num_parts)]
    content = {"version": FORMAT_VERSION, "fingerprint": LABEL_SET.fingerprint, "settings": dict(LABEL_SET.settings)}
    store.put(f"bucket/out/{LABEL_SET_FILE}", json.dumps(content).encode())
    assert append(OUTPUT, 0, {"entry": BEGIN, "job_id": job})
    assert append(OUTPUT, 1, {"entry": CLOSE, "job_id": job, "status": "complete"}, parts)
    return parts


def ids_of(store: CountingS3, part: Part) -> list[str]:
    """Image ids of a part, without a request."""
    data = store.objects[f"bucket/out/images/{part.stem}.parquet"]
    return pq.read_table(io.BytesIO(data), columns=["image_id"]).column(0).to_pylist()


def random_ids(count: int) -> list[str]:
    return sorted(uuid.uuid4().hex for _ in range(count))


def _template(num_images: int) -> dict[str, pa.Table]:
    return part_tables([f"{number:06d}" for number in range(num_images)], num_detections=1)


def _put(store: CountingS3, job: str, template: dict[str, pa.Table], image_ids: list[str]) -> Part:
    stem, num_bytes = f"part-{job}-{uuid.uuid4().hex[:12]}", {}
    for name, table in template.items():
        place = table.column_names.index("image_id")
        table = table.set_column(place, table.schema.field(place), pa.array(np.array(image_ids)))
        buffer = io.BytesIO()
        write_file(buffer, table)
        store.put(f"bucket/out/{name}/{stem}.parquet", buffer.getvalue())
        num_bytes[name] = buffer.tell()
    return Part(stem, {name: len(table) for name, table in template.items()}, num_bytes)
