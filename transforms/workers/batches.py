"""Batches: how many images the model gets at a time, and what happens if that was too many or one of them was bad."""

import logging
from collections.abc import Callable, Sequence

from ...storage.errors import check_own_resources
from ..elements import FailedImage, FetchedImage, LabelledImage
from .loaded_detector import WorkerError

_log = logging.getLogger(__name__)

Result = LabelledImage | FailedImage
Call = Callable[[Sequence[FetchedImage]], Sequence[Result]]


class Batches:
    """Gives images to a model in batches; not thread-safe.

    Args:
      size: images a call at most; less after a batch that ran out of memory.
    """

    def __init__(self, size: int):
        self._size = size

    def run(self, images: Sequence[FetchedImage], call: Call) -> list[Result]:
        """What becomes of each image, in their order. One that runs alone is given to the model alone.

        A batch that fails is halved until the image that was the cause fails alone.

        Args:
          images: decoded.
          call: one call of the model.

        Raises:
          WorkerError: what `call` raises that isn't the fault of an image.
        """
        alone = [image for image in images if image.runs_alone]
        if not alone:
            return list(self._run(images, call))
        together = [image for image in images if not image.runs_alone]
        results = [result for image in alone for result in self._run_batch([image], call)]
        results.extend(self._run(together, call))
        found = {id(image): result for image, result in zip([*alone, *together], results, strict=True)}
        return [found[id(image)] for image in images]

    def _run(self, images: Sequence[FetchedImage], call: Call) -> Sequence[Result]:
        results: list[Result] = []
        while len(results) < len(images):
            results.extend(self._run_batch(images[len(results) : len(results) + self._size], call))
        return results

    def _run_batch(self, batch: Sequence[FetchedImage], call: Call) -> Sequence[Result]:
        try:
            return call(batch)
        except WorkerError:
            raise
        except Exception as error:
            check_own_resources(getattr(error, "errno", None), error)  # no image is to blame for these
            ran_out = isinstance(error, MemoryError)
            if len(batch) == 1:
                kind = "out_of_memory" if ran_out else "inference"
                return [FailedImage(batch[0].reference, batch[0].facts, kind, f"{type(error).__name__}: {error}")]
            _log.warning("A batch of %d images failed (%s); trying its halves.", len(batch), type(error).__name__)
        middle = len(batch) // 2  # outside the handler of the error, whose traceback holds on to what didn't fit
        results = [*self._run(batch[:middle], call), *self._run(batch[middle:], call)]
        if ran_out and not any(isinstance(r, FailedImage) and r.kind == "out_of_memory" for r in results):
            # Else it was that image, which doesn't fit alone either, and says nothing of batches.
            self._size = min(self._size, len(batch) - middle)
        return results
