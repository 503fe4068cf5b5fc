"""What a job has written, read without labelbeam."""

import json

import pyarrow.dataset as ds


class Labels:
    """The tables of an output folder, as a data engineer would read them."""

    def __init__(self, folder):
        self.folder = folder

    def table(self, name):
        return ds.dataset(self.folder / name, format="parquet").to_table()

    def frame(self, name):
        return self.table(name).to_pandas()

    def parts(self, name="images"):
        return sorted((self.folder / name).glob("part-*.parquet"))

    def records(self):
        return [json.loads(p.read_text()) for p in sorted((self.folder / "_jobs").glob("*.json"))]
