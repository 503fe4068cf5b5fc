"""Which images have no row, after a job whose figures don't agree: the inputs listed once more, less what there is."""
from __future__ import annotations

import json
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from ..transforms import output_files
from ..transforms.list_images import ListImages
from ..transforms.skip_labelled import SkipLabelled

if TYPE_CHECKING:
    from .job import Job

MAX_NAMED = 100


def find_missing(job: Job, options: PipelineOptions) -> list[str]:
    """URIs of images that the job should have labelled and that have no row, at most `MAX_NAMED` of them, sorted."""
    path = output_files.join(job.output, "_jobs", f"{job.job_id}.missing")
    pipeline = beam.Pipeline(options=options)
    todo = pipeline | ListImages(job.inputs, job.listing) | SkipLabelled(job.output, job.limit)
    _ = (todo["references"]
         | "Uris" >> beam.Map(lambda reference: reference.uri)
         | beam.combiners.Top.Smallest(MAX_NAMED)
         | beam.Map(lambda uris, path: output_files.write_atomically(path, json.dumps(uris).encode()), path))
    pipeline.run().wait_until_finish()
    uris = json.loads(output_files.read(path))
    output_files.delete([path])
    return uris
