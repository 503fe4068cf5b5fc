"""pycurl, imported so that its own libcurl serves it: TensorFlow has an older one, which would be taken otherwise."""

import os
import sys

_before = sys.getdlopenflags()
sys.setdlopenflags(_before | getattr(os, "RTLD_DEEPBIND", 0))
try:
    import pycurl as pycurl
finally:
    sys.setdlopenflags(_before)
