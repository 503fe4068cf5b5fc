"""What does looking at a million labelled images cost?  python -m benchmarks.labels.reading_at_scale

Generates a label set of 1,000,000 images with 7 detections each, compacted as after a job, another detector's of the
same images, and annotations of the first ones; then runs each command that reads output folders in a process of its
own: seconds and peak memory. Peers: DuckDB, which reads the same tables for the same answer, pandas with whole tables
in memory, and pycocotools on a JSON file of the same detections.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from labelbeam.results.export import FORMATS

from ..figures import Figure, arguments, in_own_process, publish
from .at_scale import add_data, generated_data, run

ANNOTATED = 5_000  # as many as COCO's val2017
QUICK_FORMATS = ("coco", "coco-results", "fiftyone")  # the others decode each mask, or write a file an image
GOAL_MIB = 2_000


def seconds_of(*command: str) -> float:
    """By the clock, of one of labelbeam's commands."""
    return run(*command)[0]


def query(folder: str, sql: str) -> float:
    """Seconds of a DuckDB query."""
    import duckdb

    started = time.perf_counter()
    with duckdb.connect(config={"temp_directory": folder}) as connection:
        for table in ("images", "detections", "masks"):
            connection.sql(f"CREATE VIEW {table} AS FROM read_parquet('{folder}/out/{table}/*.parquet')")
        connection.sql(f"CREATE VIEW other AS FROM read_parquet('{folder}/b/detections/*.parquet')")
        connection.execute(sql).fetchall()
    return time.perf_counter() - started


def whole_tables(folder: str) -> float:
    """Seconds of pandas with the columns of a report: counts by class, histograms, images over time."""
    import pandas as pd

    started = time.perf_counter()
    images = pd.read_parquet(f"{folder}/out/images", columns=["error_kind", "num_detections", "labelled_at"])
    found = pd.read_parquet(f"{folder}/out/detections", columns=["image_id", "class_name", "score", "w", "h"])
    (
        images.error_kind.value_counts(),
        images.num_detections.value_counts(),
        images.labelled_at.dt.floor("s").value_counts(),
    )
    found.groupby("class_name").score.apply(lambda scores: np.histogram(scores, 20, (0, 1)))
    np.histogram(np.sqrt(found.w * found.h), 10)
    found.groupby("image_id").score.mean().nlargest(6)
    return time.perf_counter() - started


def direct_pycocotools(folder: str, iou: str) -> float:
    """Seconds of pycocotools on a JSON file of the annotated images' detections, made beforehand."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    started = time.perf_counter()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        truth = COCO(f"{folder}/instances.json")
        scorer = COCOeval(truth, truth.loadRes(f"{folder}/results.json"), iou)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return time.perf_counter() - started


_RESULT = (
    "class_id AS category_id, [d.x, d.y, d.w, d.h] AS bbox, score, "
    "struct_pack(size := [height, width], counts := counts) "
    "AS segmentation FROM detections d JOIN masks USING (mask_ref)"
)
_NUMBER = "CAST(regexp_extract(uri, '([0-9]+).jpg$', 1) AS INTEGER)"
_AREA = (
    "greatest(0, least(a.x + a.w, b.x + b.w) - greatest(a.x, b.x)) * "
    "greatest(0, least(a.y + a.h, b.y + b.h) - greatest(a.y, b.y))"
)
_QUERIES = {
    "status": "SELECT status, error_kind, count(*), sum(num_detections) FROM images GROUP BY ALL",
    "show": f"""SELECT * FROM detections LEFT JOIN masks USING (mask_ref)
                WHERE detections.image_id IN (
                     SELECT image_id FROM images WHERE ends_with(uri, '/{ANNOTATED:07d}.jpg'))""",
    "compare": f"""SELECT class_name, count(*), avg(shift) FROM (
                     SELECT a.detection_id, a.class_name, arg_max(b.score - a.score, {_AREA}) AS shift
                     FROM detections a JOIN other b ON a.image_id = b.image_id AND a.class_name = b.class_name
                     WHERE {_AREA} >= 0.5 * (a.w * a.h + b.w * b.h - {_AREA}) GROUP BY ALL) GROUP BY ALL""",
    "export": f"""COPY (SELECT d.image_id, {_RESULT})
                  TO '{{folder}}/export.json' (FORMAT json, ARRAY true)""",
}


def measure(folder: Path, quick: bool, formats: Sequence[str]) -> list[Figure]:
    """Each command beside its peer."""
    out, other, truth, target = (str(folder / name) for name in ("out", "b", "instances.json", "target"))
    query(
        str(folder),
        f"COPY (SELECT {_NUMBER} AS image_id, {_RESULT} "
        f"WHERE {_NUMBER} < {ANNOTATED}) TO '{folder}/results.json' (FORMAT json, ARRAY true)",
    )
    of_query = {name: in_own_process(query, str(folder), sql.format(folder=folder)) for name, sql in _QUERIES.items()}
    (folder / "export.json").unlink()
    figures = []

    def add(
        what: str, peer: str, theirs: tuple[float, float], *command: str, function: Callable[..., float] = seconds_of
    ) -> None:
        ours = in_own_process(function, *command)
        figures.append(Figure(what, peer, "s", ours[0], theirs[0], False, ours[1], theirs[1]))
        print(f"{what}: {ours[0]:.1f} s, {ours[1]:,.0f} MiB", flush=True)
        if Path(target).is_dir():
            shutil.rmtree(target)

    add("status", "DuckDB", of_query["status"], "status", out)
    add(
        "show",
        "DuckDB, without drawing",
        of_query["show"],
        "show",
        out,
        f"{ANNOTATED:07d}.jpg",
        "--output",
        f"{target}.png",
    )
    add(
        "report",
        "pandas, whole tables, figures alone",
        in_own_process(whole_tables, str(folder)),
        "report",
        out,
        "--output",
        f"{target}.html",
    )
    for iou in ("bbox", "segm"):
        add(
            f"evaluate --iou {iou}, {ANNOTATED:,} of them annotated",
            "pycocotools, detections of these alone",
            in_own_process(direct_pycocotools, str(folder), iou),
            "evaluate",
            out,
            "--annotations",
            truth,
            "--iou",
            iou,
        )
    add("compare", "DuckDB, boxes alone", of_query["compare"], "compare", out, other)
    if not quick:
        add("compare --iou segm", "DuckDB, boxes alone", of_query["compare"], "compare", out, other, "--iou", "segm")
    for format in formats:
        add(
            f"export --format {format}",
            "DuckDB, to JSON",
            of_query["export"],
            "export",
            out,
            "--format",
            format,
            "--to",
            target,
        )
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, metavar="N", help="default: 1,000,000; with --quick 100,000")
    add_data(parser)
    parser.add_argument(
        "--formats", nargs="+", choices=list(FORMATS), default=QUICK_FORMATS, help="of the exports to measure"
    )
    args = parser.parse_args()
    num_images = args.images or (100_000 if args.quick else 1_000_000)
    with generated_data(args.data, num_images, ANNOTATED) as folder:
        figures = measure(folder, args.quick, args.formats)
    publish(figures, args.json)
    most = max(figures, key=lambda figure: figure.ours_mib)
    print(f"\n{num_images:,} images; most memory: {most.what}, {most.ours_mib:,.0f} MiB (at most {GOAL_MIB:,} wanted)")


if __name__ == "__main__":
    main()
