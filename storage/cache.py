"""Where a machine keeps what is fetched or converted once: `$LABELBEAM_CACHE`, else `~/.cache/labelbeam`."""

import os
from pathlib import Path


def cache_folder() -> Path:
    return Path(os.environ.get("LABELBEAM_CACHE") or Path.home() / ".cache" / "labelbeam")
