"""A body that arrives in chunks, joined within the limits of an image: its bytes and its deadline."""

from collections.abc import Iterable

from ..transforms.elements import ImageError
from .http_connections import Deadline


def join_chunks(chunks: Iterable[bytes], max_bytes: int, deadline: Deadline) -> bytes:
    """All chunks as one.

    Raises:
      ImageError: `too_large` as soon as there are more bytes than allowed, `timeout` at the first chunk after the deadline.
    """
    taken, num_bytes = [], 0
    for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise ImageError("too_large", f"more than {max_bytes:,} bytes, which is the limit (max_bytes)")
        if deadline.remaining_s() <= 0:
            raise deadline.error()
        taken.append(chunk)
    return b"".join(taken)


def too_large(num_bytes: int, max_bytes: int) -> ImageError:
    """For a body whose length is known before it is read."""
    return ImageError("too_large", f"{num_bytes:,} bytes, the limit is {max_bytes:,} (max_bytes)")
