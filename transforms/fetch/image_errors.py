"""What storage fails with, as the reason why an image has no labels."""

from ...labelset.rows import ErrorKind
from ...storage.errors import storage_error
from ..elements import ImageError


def image_error(error: Exception) -> ImageError:
    """The `ImageError` for a `StorageError` or any other exception of a filesystem or of an object store's client.

    Raises:
      ResourcesError, MemoryError: if it's about this process: no image is to blame then.
    """
    found = storage_error(error)
    kind: ErrorKind = "not_an_image" if found.kind == "not_a_file" else found.kind
    return ImageError(kind, found.message)
