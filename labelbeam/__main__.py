"""`python -m labelbeam` is `labelbeam`."""

import sys

from labelbeam.pipeline.cli import main

sys.exit(main())
