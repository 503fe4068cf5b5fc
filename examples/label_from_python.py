"""A labelling job from Python: what `labelbeam label` does, and what one does with its tables.

    python examples/label_from_python.py photos/ labels/

The same call again labels only what has been added to the folder since.
"""

import sys

import pyarrow.compute as pc

import labelbeam


def main(inputs: str, output: str) -> None:
    config = labelbeam.LabelConfig("demo", min_score=0.5)
    execution = labelbeam.ExecutionOptions(batch_size=4, part_images=1000)
    result = labelbeam.label(inputs, output, config, execution)
    print(f"{result.record['written']} images in {result.seconds:.0f} s, failures: {result.record['failures']}")

    label_set = labelbeam.open_label_set(output)
    detections = label_set.arrow("detections", ["class_name", "score", "mask_ref"])
    for row in detections.group_by("class_name").aggregate([("score", "count"), ("score", "mean")]).to_pylist():
        print(f"{row['class_name']:12} {row['score_count']:4} found, mean score {row['score_mean']:.2f}")
    best = detections.sort_by([("score", "descending")]).slice(0, 1).to_pylist()[0]
    print(f"the best one, a {best['class_name']}, covers {label_set.mask(best['mask_ref']).sum():,} pixels")

    failed = label_set.arrow("images", ["uri", "error_message"], filters=pc.field("status") == "failed")
    for row in failed.to_pylist():
        print(f"{row['uri']}: {row['error_message']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
