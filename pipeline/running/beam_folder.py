"""The folder that a Beam pipeline makes for itself, kept where it ends with its process."""

import os
import tempfile
from typing import Any


def keep_in(folder: str, pipeline: Any) -> Any:
    """The same Beam pipeline, with the folder of its own that it makes below this one."""
    os.rmdir(pipeline.local_tempdir)
    pipeline.local_tempdir = tempfile.mkdtemp(prefix="beam-", dir=folder)
    return pipeline
