"""The limit of bytes (`max_bytes`) of what is read whole."""

from collections.abc import Iterable

from .errors import StorageError


def check_size(num_bytes: int, max_bytes: int) -> None:
    """Raises StorageError (`too_large`) if a size that is known is above the limit."""
    if num_bytes > max_bytes:
        raise StorageError("too_large", f"{num_bytes:,} bytes, the limit is {max_bytes:,} (max_bytes)")


def more_than(max_bytes: int) -> StorageError:
    """The error for a body that has no declared size and turns out larger than allowed."""
    return StorageError("too_large", f"more than {max_bytes:,} bytes, which is the limit (max_bytes)")


def join_chunks(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """All chunks as one; raises StorageError (`too_large`) as soon as there are more bytes than allowed."""
    taken, num_bytes = [], 0
    for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise more_than(max_bytes)
        taken.append(chunk)
    return b"".join(taken)
