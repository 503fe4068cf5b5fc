"""labelbeam labels images at scale, offline."""
