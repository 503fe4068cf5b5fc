"""Reading one image as a job does, for tests of what is read and of what can't be."""

from labelbeam.transforms.elements import ImageError, ImageFacts, ImageReference
from labelbeam.transforms.fetch.options import ReadOptions
from labelbeam.transforms.fetch.read_bytes import read_bytes

BODY = bytes(range(256)) * 40
WAIT_S = 30  # for what must happen; nothing takes as long unless it is broken
QUICK = ReadOptions(connect_timeout_s=WAIT_S, read_timeout_s=WAIT_S, deadline_s=WAIT_S, retries=2, backoff_s=0.01)


def read(uri, options=QUICK, location=None):
    """Returns (bytes or ImageError, attempts)."""
    facts = ImageFacts()
    try:
        return read_bytes(ImageReference(str(uri), location), options, facts), facts.attempts
    except ImageError as error:
        return error, facts.attempts


def kind_of(uri, options=QUICK, location=None):
    error, attempts = read(uri, options, location)
    assert isinstance(error, ImageError), f"{uri} was read"
    return error.kind, attempts
