"""`labelbeam report OUT`: a label set on one HTML page, to be looked at and passed on.

The page holds everything that it shows (images, charts, style, script) and is told by its own content security policy
to load nothing else.
"""

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from ...labelset.job_records import read_records, utc_now
from ...storage import files
from ...storage.errors import UsageError, shorten
from ...storage.redaction import redact
from ...storage.uris import join
from ..drawing.charts import ColumnChart, Label, column_chart
from ..drawing.colours import PALETTE, class_colours
from ..page import render
from ..reader import LabelSet, open_label_set
from ..text import counted, duration
from .choice import GROUPS
from .data import BOX_SIDE_EDGES, NUM_SCORE_BINS, ReportData, collect_report_data
from .gallery import FONT_SIZE, make_cards

MAX_PAGE_BYTES = 5_000_000
_IMAGE_BYTES = 3_600_000  # of a page: the rest is for the detections' outlines, the classes and the page itself
_MAX_CLASSES = 400  # named; there are label maps with thousands
_MAX_JOBS = 10
_NUM_TIME_COLUMNS = 60
_SMOOTHED_COLUMNS = 5  # whose mean a column of the rate shows: images come in batches
_PAUSE_S = 300  # without a labelled image: nobody was at work


def write_report(output: str, to_path: str | None = None, seed: int = 0) -> str:
    """Writes the page; returns a sentence that says where.

    Args:
      output: folder of a label set.
      to_path: of the page, `.html`; on any store that Beam knows. None for `report.html` in `output`.
      seed: of the choice of images, 0 or more.

    Raises:
      UsageError: if `output` is no folder of a label set or holds no images, or the page can't be written.
    """
    to_path = to_path or join(output, "report.html")
    if not to_path.lower().endswith((".html", ".htm")):
        raise UsageError(f"--output {to_path}: expected a name that ends in .html")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected a whole number of 0 or more")
    label_set = open_label_set(output)
    data = collect_report_data(label_set, seed)
    page = _render(label_set, list(read_records(output)), data, seed)
    files.write_where_asked("--output", to_path, page)
    return f"Report of {counted(data.images, 'image')}: {to_path} ({len(page) / 1e6:.2f} MB)"


def _render(label_set: LabelSet, jobs: Sequence[dict[str, Any]], data: ReportData, seed: int) -> bytes:
    colours = class_colours(label_set.settings)
    named = list(data.class_counts)[:_MAX_CLASSES]
    return render(
        "report.html.j2",
        output=label_set.path,
        made_at=utc_now()[:16].replace("T", " "),
        seed=seed,
        facts=_facts(label_set.settings),
        jobs=[_job_row(job) for job in jobs[-_MAX_JOBS:]],
        num_jobs=len(jobs),
        data=data,
        named=named,
        class_numbers={name: number for number, name in enumerate(named)},
        palette_numbers={name: PALETTE.index(colours[name]) for name in data.score_bins},
        score_bins=[data.score_bins[name].tolist() for name in named],
        all_score_bins=_sum_score_bins(data).tolist(),
        num_score_bins=NUM_SCORE_BINS,
        charts=_charts(data),
        groups=[group for group in GROUPS if any(chosen.group == group for chosen in data.chosen)],
        cards=make_cards(label_set, data.chosen, colours, _IMAGE_BYTES),
        font_size=FONT_SIZE,
    )


def _facts(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What decided the labels, as names and values."""
    known = {
        "detector": "Detector",
        "engine": "Engine",
        "precision": "Precision",
        "weights_sha256": "Weights (SHA-256)",
        "min_score": "Minimum score",
        "max_detections": "Most detections an image",
        "mask_format": "Masks",
        "decode": "Decoding",
        "exif_orientation": "EXIF orientation",
        "boxes_sha256": "Box prompts (SHA-256)",
    }
    facts = [(name, str(settings[key])) for key, name in known.items() if settings.get(key) is not None]
    if settings.get("labels"):
        facts.append(("Classes in the label map", f"{len(settings['labels']):,}"))
    return facts


def _job_row(job: dict[str, Any]) -> dict[str, str]:
    """What the table of jobs says of one."""
    took = ""
    if "finished_at" in job:
        start, end = (datetime.fromisoformat(job[key]) for key in ("started_at", "finished_at"))
        took = duration((end - start).total_seconds())
    return {
        "Job": job["job_id"],
        "Status": job["status"],
        "Started (UTC)": job.get("started_at", "")[:16].replace("T", " "),
        "Took": took,
        "Written": _thousands(job.get("written")),
        "Skipped": _thousands(job.get("skipped")),
        "Runner": job.get("runner", ""),
        "labelbeam": job.get("versions", {}).get("labelbeam", ""),
        "Inputs": shorten(redact(", ".join(job.get("inputs", []))), 120),
    }


def _charts(data: ReportData) -> dict[str, ColumnChart]:
    found = {"per_image": _per_image_chart(data), "rate": rate_chart(data.labelled_at_s, data.labelled)}
    if data.detections:
        found |= {"scores": _score_chart(data), "sides": _box_side_chart(data)}
    return found


def _sum_score_bins(data: ReportData) -> np.ndarray:
    return sum(data.score_bins.values(), np.zeros(NUM_SCORE_BINS, np.int64))


def _score_chart(data: ReportData) -> ColumnChart:
    bins = _sum_score_bins(data).tolist()
    titles = [
        f"score {i / NUM_SCORE_BINS:.2f} to {(i + 1) / NUM_SCORE_BINS:.2f}: {count:,}" for i, count in enumerate(bins)
    ]
    labels = [Label(share / 4, f"{share / 4:g}") for share in range(5)]
    return column_chart("Detections by score", bins, titles, labels)


def _box_side_chart(data: ReportData) -> ColumnChart:
    counts = data.box_sides.tolist()
    names = [
        f"below {BOX_SIDE_EDGES[0]}",
        *(f"{low} to {high}" for low, high in itertools.pairwise(BOX_SIDE_EDGES)),
        f"{BOX_SIDE_EDGES[-1]} or more",
    ]
    labels = [Label((i + 1) / len(counts), str(edge)) for i, edge in enumerate(BOX_SIDE_EDGES)]
    return column_chart(
        "Detections by the side of their box in pixels",
        counts,
        [f"{name} pixels: {count:,}" for name, count in zip(names, counts, strict=True)],
        labels,
    )


def _per_image_chart(data: ReportData) -> ColumnChart:
    """Images by number of detections; a column for none, then columns of equal widths."""
    most = max(data.detections_per_image, default=0)
    width = -(-most // 20) or 1
    counts = [data.detections_per_image[0]] + [0] * (-(-most // width))
    for number, images in data.detections_per_image.items():
        if number:
            counts[(number - 1) // width + 1] += images
    ranges = ["0"] + [
        f"{1 + i * width}" + (f" to {(i + 1) * width}" if width > 1 else "") for i in range(len(counts) - 1)
    ]
    step = -(-len(counts) // 6)
    labels = [Label((i + 0.5) / len(counts), ranges[i].replace(" to ", "–")) for i in range(0, len(counts), step)]
    return column_chart(
        "Images by number of detections",
        counts,
        [f"{name} detections: {counted(images, 'image')}" for name, images in zip(ranges, counts, strict=True)],
        labels,
    )


def rate_chart(labelled_at_s: np.ndarray, labelled: np.ndarray) -> ColumnChart:
    """Images a second while somebody was at work; pauses are left out and marked."""
    breaks = np.flatnonzero(np.diff(labelled_at_s) > _PAUSE_S) + 1
    stretches = list(zip(np.split(labelled_at_s, breaks), np.split(labelled, breaks), strict=True))
    total_s = sum(int(seconds[-1] - seconds[0]) + 1 for seconds, _ in stretches)
    column_s = -(-total_s // _NUM_TIME_COLUMNS)
    rates, titles, edges, pauses, before_s = [], [], [], [], 0
    for seconds, counts in stretches:
        if before_s:
            pauses.append(before_s / total_s)
        length_s = int(seconds[-1] - seconds[0]) + 1
        sums = np.bincount((seconds - seconds[0]) // column_s, counts)
        lengths = np.minimum(column_s, length_s - column_s * np.arange(len(sums)))
        smoothed = _moving_sums(sums) / _moving_sums(lengths)
        for number, rate in enumerate(smoothed.tolist()):
            start_s, end_s = number * column_s, min((number + 1) * column_s, length_s)
            rates.append(rate)
            titles.append(f"{_time(seconds[0] + start_s)} UTC: {rates[-1]:,.1f} images/s")
            edges.append(((before_s + start_s) / total_s, (before_s + end_s) / total_s))
        before_s += length_s
    labels = [Label(0, _time(labelled_at_s[0]), "start"), Label(1, f"{duration(total_s)} at work", "end")]
    return column_chart("Images labelled a second, over time", rates, titles, labels, edges, pauses)


def _moving_sums(values: np.ndarray) -> np.ndarray:
    """Sums over some columns around each one; fewer at the ends."""
    before = np.concatenate([[0], np.cumsum(values)])
    place, reach = np.arange(len(values)), _SMOOTHED_COLUMNS // 2
    return before[np.minimum(place + reach + 1, len(values))] - before[np.maximum(place - reach, 0)]


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(int(unix_s), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _thousands(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
