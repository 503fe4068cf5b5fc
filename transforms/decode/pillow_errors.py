"""What Pillow's plugins and the codecs below them raise, as `ImageError`s: whose fault it is, by the message alone."""

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from ...storage.errors import check_own_resources
from ..elements import ImageError

# What plugins raise for files that they can't make sense of, TypeError and AttributeError included. So only calls of
# Pillow's belong where these are caught: the same error in our own code is a fault of ours. MemoryError is not among
# them: it says nothing of the file.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_SAYS_UNSUPPORTED = re.compile(
    r"unsupported|not (yet )?(supported|implemented|available)|unimplemented|unknown (?!error)|unrecognized (?!data)"
    r"|bad configuration|cannot (find loader|load this|handle)",
    re.IGNORECASE,
)


@contextlib.contextmanager
def as_image_errors(what: str) -> Iterator[None]:
    """Around calls of Pillow's alone: raises what they raise as `ImageError`.

    Args:
      what: the file, for the message.
    """
    try:
        yield
    except BOMB_ERRORS as error:
        raise ImageError("too_large", f"{what}: {error}") from error
    except DECODER_ERRORS as error:
        raise image_error(error, what) from error


def image_error(error: Exception, what: str, cut_short: bool = False) -> ImageError:
    """The `ImageError` for an error of Pillow's: damage, if it says no more.

    Args:
      error: what was raised.
      what: the file, for the message.
      cut_short: whether the file's end was reached, which makes it damage whatever the message says.

    Raises:
      ResourcesError, MemoryError: if it's about this process, such as too many open files.
    """
    check_own_resources(getattr(error, "errno", None), error)
    text = _one_line(error)
    if isinstance(error, UnidentifiedImageError):  # from an image inside the file
        return ImageError("truncated", f"{what}: the image inside can't be identified")
    if isinstance(error, OSError) and "out of memory" in text:
        raise MemoryError(f"{what}: {text}") from error  # tried once more with no other image
    if "not identified by this driver" in text:  # Pillow's words for a header with neither size nor pixel format
        return ImageError("not_an_image", f"{what}: its header gives a width, height or pixel format of nothing")
    unknown = isinstance(error.__cause__ or error, (KeyError, NotImplementedError))  # a mode or compression, to Pillow
    if (unknown or _SAYS_UNSUPPORTED.search(text)) and not cut_short:
        return ImageError("unsupported", f"{what}, of a kind that Pillow can't decode: {text}")
    return ImageError("truncated", f"{what}, cut short or damaged: {text}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, (OSError, SyntaxError, NotImplementedError)) else f"{type(error).__name__}: {text}"
