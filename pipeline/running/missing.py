"""Which images have no row, after a job whose figures don't agree: the inputs listed once more, less what there is."""

import json
from collections.abc import Sequence
from typing import cast

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from ...storage import files as output_files
from ...storage.read_options import ReadOptions
from ...storage.redaction import redact_name
from ...storage.temporary import temporary_folder
from ...storage.uris import as_text, join
from ...transforms.list_images import ListImages
from ...transforms.skip_labelled import SkipLabelled, ToDo
from ...transforms.sources.inputs import ListOptions
from .beam_folder import keep_in

MAX_NAMED = 100


def find_missing(
    inputs: Sequence[str],
    listing: ListOptions,
    read: ReadOptions,
    limit: int | None,
    output: str,
    job_id: str,
    options: PipelineOptions,
) -> list[str]:
    """URIs of images that a job with these settings should have labelled and that have no row, at most `MAX_NAMED`,
    sorted."""
    path = join(output, "_jobs", f"{job_id}.missing")
    with temporary_folder("beam") as folder:
        pipeline = keep_in(folder, beam.Pipeline(options=options))
        todo = cast(ToDo, pipeline | ListImages(inputs, listing, read=read) | SkipLabelled(output, limit))
        _ = (
            todo["references"]
            | "Uris" >> beam.Map(lambda reference: as_text(redact_name(reference.uri)))
            | beam.combiners.Top.Smallest(MAX_NAMED)
            | beam.Map(lambda uris, path: output_files.write_atomically(path, json.dumps(uris).encode()), path)
        )
        pipeline.run().wait_until_finish()
    uris = json.loads(output_files.read(path))
    output_files.delete([path])
    return uris
