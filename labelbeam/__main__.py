"""`python -m labelbeam` is `labelbeam`."""

import runpy

runpy.run_module("labelbeam.pipeline.cli", run_name="__main__")
