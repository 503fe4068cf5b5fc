"""A Beam pipeline of one's own with labelling as one of its steps.

    python examples/beam_pipeline.py 'photos/*.jpg' people.jsonl

Counts what is found in each image and writes a line of JSON for each image that has something. Everything after
`LabelImages` is plain Beam; options of Beam (`--runner=FlinkRunner`, …) may follow.
"""

import json
import sys

import apache_beam as beam
from apache_beam.io.fileio import MatchFiles
from apache_beam.options.pipeline_options import PipelineOptions

import labelbeam


def main(pattern: str, to: str, *beam_options: str) -> None:
    with beam.Pipeline(options=PipelineOptions(list(beam_options))) as pipeline:
        uris = pipeline | MatchFiles(pattern) | beam.Map(lambda file: file.path).with_output_types(str)
        tables = uris | labelbeam.LabelImages(labelbeam.LabelConfig("demo", min_score=0.5, mask_format="none"))
        _ = (
            tables["detections"]
            | "ByImage" >> beam.Map(lambda row: ((row["uri"], row["class_name"]), 1))
            | beam.CombinePerKey(sum)
            | beam.Map(lambda found: json.dumps({"uri": found[0][0], "class": found[0][1], "count": found[1]}))
            | beam.io.WriteToText(to, shard_name_template="")
        )
        # Each URI has one row in `images`, with the reason if it couldn't be labelled.
        _ = (
            tables["images"]
            | "Failed" >> beam.Filter(lambda row: row["status"] == "failed")
            | beam.Map(lambda row: print(f"{row['uri']}: {row['error_kind']}: {row['error_message']}", file=sys.stderr))
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
