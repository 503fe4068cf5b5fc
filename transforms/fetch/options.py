"""How images are read and decoded: the settings of `read_bytes` and `decode`.

Plain frozen dataclasses without imports, so that they can be made and checked before anything heavy is loaded.
"""

from dataclasses import dataclass
from typing import Literal

MIB = 1024 * 1024


@dataclass(frozen=True)
class ReadOptions:
    """Limits and patience of `read_bytes`.

    Attributes:
      max_bytes: a larger file is `too_large`, and never read whole.
      connect_timeout_s: seconds for a server to accept a connection (and for TLS to be agreed).
      read_timeout_s: seconds of silence after which a server has stopped answering.
      deadline_s: seconds for one image, whatever happens: redirects, retries and servers that send a byte now and then
        included.
      retries: how often a failed request is repeated where that may help; 0 for a single try.
      backoff_s: the n-th retry waits a random time between 0 and `backoff_s` * 2**(n-1) seconds ("full jitter"), or
        what the server asks for in `Retry-After`, if that is longer.
      max_per_host: requests to one http(s) host and port at once, of all threads of a process.
      user_agent: how requests introduce themselves; some archives refuse clients without a contact address in it.
      allow_schemes: what may be read, as in `frozenset({"https", "s3"})`; local paths are `file`. Others are `forbidden`.
        None for every scheme, which suits URIs of your own making. Members of containers are read wherever those lie.
      public_hosts_only: whether http(s) hosts are `forbidden` whose address is private, loopback, link-local, multicast or
        reserved. Connections are direct then: behind a proxy nobody could tell.
    """

    max_bytes: int = 256 * MIB
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 20.0
    deadline_s: float = 60.0
    retries: int = 3
    backoff_s: float = 0.5
    max_per_host: int = 16
    user_agent: str = "labelbeam"
    allow_schemes: frozenset[str] | None = None
    public_hosts_only: bool = False

    def __post_init__(self):
        check_positive(self, "max_bytes", "connect_timeout_s", "read_timeout_s", "deadline_s", "max_per_host")
        check_not_negative(self, "retries", "backoff_s")


@dataclass(frozen=True)
class ModelInput:
    """The size to which a detector itself resizes every image.

    Attributes:
      size_hw: (height, width) in pixels.
      resize: `stretch` (to both sides) or `letterbox` (into them, the aspect ratio kept).
    """

    size_hw: tuple[int, int]
    resize: Literal["stretch", "letterbox"]

    def share_needed(self, size_hw: tuple[int, int]) -> float:
        """What the detector makes of the sides of an image of this size, as a share of them: more is lost on it."""
        shares = [wanted / side for wanted, side in zip(self.size_hw, size_hw)]
        return max(shares) if self.resize == "stretch" else min(shares)


@dataclass(frozen=True)
class DecodeOptions:
    """How `decode` makes an RGB array of a file.

    Attributes:
      max_pixels: an image with more is `too_large`, decided from its header. The default holds the largest images
        that phones make (200 megapixels: 600 MB as an array, and 800 MB more inside Pillow while it is decoded).
      exif_orientation: `apply` turns the image the way a viewer shows it; `ignore` leaves the rows as they are stored
        (for labels that are to be matched with boxes drawn on unturned images).
      background_rgb: what transparent images are laid on.
      reduce_for: decode JPEGs at a half, a quarter or an eighth of their sides, never below what this detector needs. None:
        all in full. Limits are those of the full images either way.
    """

    max_pixels: int = 200_000_000
    exif_orientation: Literal["apply", "ignore"] = "apply"
    background_rgb: tuple[int, int, int] = (255, 255, 255)
    reduce_for: ModelInput | None = None

    def __post_init__(self):
        check_positive(self, "max_pixels")
        if self.exif_orientation not in ("apply", "ignore"):
            raise ValueError(f"exif_orientation: expected 'apply' or 'ignore', got {self.exif_orientation!r}")
        colour = self.background_rgb
        if len(colour) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in colour):
            raise ValueError(f"background_rgb: expected three whole numbers from 0 to 255, got {colour!r}")


def check_positive(options, *names: str) -> None:
    """Raises ValueError for the first of these attributes that isn't above 0."""
    for name in names:
        value = getattr(options, name)
        if not value > 0:
            raise ValueError(f"{name}: expected a number above 0, got {value!r}")


def check_not_negative(options, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not value >= 0:
            raise ValueError(f"{name}: expected 0 or more, got {value!r}")
