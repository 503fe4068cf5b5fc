"""How many images go to the device at once: a given size, or one found by trying; less once memory has run out."""

import threading

LEAST_GAIN = 1.05  # a doubled batch must give that much more images a second to be kept


class BatchSize:
    """Thread-safe. `size` is what to use for the next batch.

    Args:
      size: to start with, and to stay with unless memory runs out; if None, it starts at 1 and doubles for as long as
        the throughput grows.
      largest: it never grows beyond.
    """

    def __init__(self, size: int | None = None, largest: int = 64):
        self._lock = threading.Lock()
        self._growing = size is None
        self._size = size or 1
        self._largest = largest
        self._calls = 0  # with this size
        self._rates: dict[int, float] = {}  # batch size -> images a second

    @property
    def size(self) -> int:
        return self._size

    def finished(self, size: int, seconds: float) -> None:
        """A full batch of this size took so long. The first one of a size is left out: it may hold a compilation."""
        with self._lock:
            if not self._growing or size != self._size:
                return
            self._calls += 1
            if self._calls == 1:
                return
            self._rates[size] = size / seconds
            before = self._rates.get(size // 2)
            if before and self._rates[size] < before * LEAST_GAIN:
                self._stop_growing_at(size // 2)
            elif size * 2 > self._largest:
                self._stop_growing_at(size)
            else:
                self._size, self._calls = size * 2, 0

    def out_of_memory(self, size: int) -> None:
        """A batch of this size didn't fit: from now on half of it at most.

        Raises:
          MemoryError: if one image alone doesn't fit.
        """
        if size == 1:
            raise MemoryError("one image alone doesn't fit into the device's memory")
        with self._lock:
            if size // 2 < self._size:
                self._stop_growing_at(size // 2)

    def _stop_growing_at(self, size: int) -> None:
        self._size, self._growing = size, False
