"""A stream that can be read at any place, of what has a known size: the place, and nothing of where bytes come from."""

import io


class PlacedStream(io.RawIOBase):
    """Keeps the place at which it is read. A subclass sets `_size`, in bytes, and reads at `_place`."""

    def __init__(self):
        super().__init__()
        self._place = 0
        self._size = -1  # not known yet

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place
