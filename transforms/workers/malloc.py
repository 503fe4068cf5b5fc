"""Keeps the memory of decoded images in the process, instead of asking the kernel for it anew for each image."""

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT_BYTES = 256 << 20


@functools.cache
def keep_large_blocks() -> bool:
    """Makes glibc's malloc reuse large blocks; does nothing with another C library. Returns whether it did.

    glibc gives large blocks straight back to the kernel, and new ones come zeroed, page by page: for an image of some
    megapixels, that takes about as long as decoding its JPEG. Three settings work only together: large blocks come
    from the heap, up to 256 MiB of free heap are kept, and threads started from now on share one heap (the heaps that
    threads get of their own can't hold large blocks). They hold for the whole process; small blocks are as fast as
    before, since each thread caches them. `mallopt(3)` describes them.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):
        return False
    settings = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_ARENA_MAX, 1))
    return [libc.mallopt(name, value) for name, value in settings] == [1, 1, 1]  # each is tried
