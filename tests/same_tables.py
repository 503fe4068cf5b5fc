"""Whether two output folders hold the same rows, timings aside: for tests of runners, and by hand

python -m tests.same_tables OUT OTHER
"""

import sys
from pathlib import Path

import pyarrow.dataset as ds

TIMINGS = {"labelled_at", "fetch_ms", "decode_ms"}


def read_tables(output: Path) -> dict[str, list[dict]]:
    """The rows of each table that there is, in a fixed order."""
    return {name: _rows(output / name) for name in ("images", "detections", "masks") if (output / name).is_dir()}


def _rows(folder: Path) -> list[dict]:
    table = ds.dataset(folder, format="parquet").to_table()
    table = table.drop_columns([name for name in table.column_names if name in TIMINGS])
    key = next(name for name in ("detection_id", "image_id") if name in table.column_names)
    return table.sort_by([(key, "ascending")]).to_pylist()


if __name__ == "__main__":
    one, other = (read_tables(Path(folder)) for folder in sys.argv[1:3])
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            sys.exit(f"{name}: {sys.argv[1]} and {sys.argv[2]} differ")
    print(", ".join(f"{len(rows)} {name}" for name, rows in one.items()) + ": the same in both")
