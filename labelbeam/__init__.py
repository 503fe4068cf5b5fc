"""labelbeam labels images at scale, offline."""

__version__ = "0.1.0"
