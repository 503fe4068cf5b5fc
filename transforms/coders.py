"""Coders of the elements; importing this module registers them with Beam."""

import pickle
from typing import Any

import apache_beam as beam

from ..labelset.rows import ImageRows
from . import pipeline_options  # noqa: F401  registers labelbeam's own, wherever its elements travel
from .elements import BoxPrompts, DetectOutcome, FetchOutcome, ImageReference, MemberLocation

_NO_OTHERS = (None, None, "", (), None)  # location, boxes, problem, carried and version of most references


class InMemoryCoder(beam.coders.Coder):
    """For elements within a fused stage: pickles where a runner insists on bytes, not to tell an element's size.

    Beam samples the sizes of elements between steps, with the default coder by pickling them. Not a subclass of one of
    Beam's fast coders: those have an implementation of their own, which never asks `estimate_size`.
    """

    def encode(self, value: Any) -> bytes:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> Any:
        return pickle.loads(encoded)

    def estimate_size(self, value: FetchOutcome | DetectOutcome | ImageRows) -> int:
        return value.num_bytes_in_memory + 256

    def is_deterministic(self) -> bool:
        return False


class PixelsCoder(InMemoryCoder):
    """Of its own class, so that a graph tells where pixels are."""


class ImageReferenceCoder(beam.coders.Coder):
    """Little more than the URI's own bytes: runners keep several copies of millions. Pickles where there is more."""

    def encode(self, value: ImageReference) -> bytes:
        others = (value.location, value.boxes, value.problem, value.carried, value.version)
        if others == _NO_OTHERS and value.listed_as in (None, value.uri):
            # File names may hold lone surrogates.
            return (b"u" if value.listed_as is None else b"l") + value.uri.encode("utf-8", "surrogatepass")
        location, boxes = (part and tuple(vars(part).values()) for part in (value.location, value.boxes))
        parts = (value.uri, location, boxes, value.listed_as, value.problem, value.carried, value.version)
        return b"p" + pickle.dumps(parts, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> ImageReference:
        if not encoded.startswith(b"p"):
            uri = encoded[1:].decode("utf-8", "surrogatepass")
            return ImageReference(uri, listed_as=uri if encoded.startswith(b"l") else None)
        uri, location, boxes, *others = pickle.loads(encoded[1:])
        return ImageReference(uri, location and MemberLocation(*location), boxes and BoxPrompts(*boxes), *others)

    def is_deterministic(self) -> bool:
        return False


def is_plain(encoded: bytes) -> bool:
    """Whether an encoded reference is a URI and no more."""
    return encoded.startswith(b"u")


beam.coders.registry.register_coder(ImageReference, ImageReferenceCoder)
beam.coders.registry.register_coder(FetchOutcome, PixelsCoder)
beam.coders.registry.register_coder(DetectOutcome, InMemoryCoder)
beam.coders.registry.register_coder(ImageRows, InMemoryCoder)
