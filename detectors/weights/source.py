"""One place where weights can be had."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightsSource:
    """One place where weights can be had.

    Attributes:
      uri: a path, a URI of a store, a URL, or a handle of TF Hub's or Kaggle's.
      sha256: of the archive that a URL serves, in hex; None where it isn't known.
    """

    uri: str
    sha256: str | None = None
