"""Configurations that come with labelbeam: data files only, read by `detectors/config.py`."""
