"""Which of Pillow's plugins reads a file, and its header: `Image.open` without its process-wide limit."""

import functools
import importlib.util
import io

from PIL import Image

from ...storage.installation import install_hint
from ..elements import ImageError
from . import jpeg, png, tiff, webp
from .pillow_errors import BOMB_ERRORS, DECODER_ERRORS, image_error
from .signatures import image_format_not_decoded, is_postscript, kind_of_bytes

# Of no use for images of strangers: a program for an interpreter, and a wrapper around a file of any size.
_REFUSED = frozenset({"EPS", "IPTC"})


@functools.cache
def plugins() -> tuple[str, ...]:
    """The names of Pillow's plugins, loaded, in its own order; HEIF among them where pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in Image.ID if name not in _REFUSED)


def identify(data: bytes) -> Image.Image:
    """`Image.open`, but for its guard and its silence.

    `Image.open` compares each image with `Image.MAX_IMAGE_PIXELS`, a setting of the whole process, and warns or
    raises; here the limit is the caller's. And it drops what the plugins say: a JPEG that ends in its header, or an
    AVIF on a Pillow without AVIF, would be "cannot identify image file".

    Raises:
      ImageError: `not_an_image`, `unsupported`, `truncated` or `too_large`.
    """
    if is_postscript(data):
        raise ImageError(
            "unsupported",
            "EPS file: it is a program for a PostScript interpreter, and programs found in collections of images are "
            "not run; convert it first",
        )
    prefix = data[:16].ljust(16, b"\0")  # some plugins unpack numbers from it without looking at its length
    failure = None
    for name in plugins():
        factory, accept = Image.OPEN[name]
        accepted = accept(prefix) if accept else None
        if isinstance(accepted, str):  # Pillow's words for "right format, but this build can't"
            failure = failure or ImageError("unsupported", f"{name} file: {accepted}")
        elif accepted or accept is None:
            file = _NotesEnd(data)
            try:
                return factory(file, "")
            except BOMB_ERRORS as error:
                raise ImageError("too_large", f"{name} file: {error}") from error
            except DECODER_ERRORS as error:
                if accepted and not failure:  # plugins without `accept` try anything: what they say means nothing
                    failure = image_error(error, f"{name} file", cut_short=file.ended)
    name = image_format_not_decoded(data)
    if name and not (name == "HEIC" and "HEIF" in plugins()):
        how = f"{install_hint('heif')} where images are decoded" if name == "HEIC" else "convert it"
        raise ImageError("unsupported", f"{name} file: Pillow does not read {name}; {how}")
    raise failure or ImageError("not_an_image", f"no image format known to Pillow: it looks like {kind_of_bytes(data)}")


def identify_mended(data: bytes) -> tuple[Image.Image, bytes]:
    """`identify`, for a file with damaged metadata without them; and the bytes of which that holds."""
    try:
        return identify(data), data
    except ImageError as error:
        if (mended := pixels_only(data)) is None:
            raise
        try:
            return identify(mended), mended
        except ImageError:
            raise error from None


def pixels_only(data: bytes) -> bytes | None:
    """The file without what lies beside its pixels, which may be damaged and says nothing of them; None if there is
    nothing of the kind, or the format isn't one of these."""
    for module in (png, jpeg, webp, tiff):
        if (mended := module.pixels_only(data)) is not None:
            return mended
    return None


class _NotesEnd(io.BytesIO):
    """Bytes as a file that remembers whether a reader ran into its end. Headers are read in exact pieces."""

    ended = False

    def read(self, size=-1, /):
        data = super().read(size)
        self.ended = self.ended or (size is not None and len(data) < size)
        return data
