"""ReadOptions: limits and retry policy of reading a file that somebody else's list names."""

from dataclasses import dataclass

from .retry import RetryPolicy, check_positive

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ReadOptions(RetryPolicy):
    """How a file is read whole.

    Attributes:
      max_bytes: a larger file is `too_large`, and never read whole.
      max_per_host: requests to one http(s) host and port at once, of all threads of a process.
      user_agent: how requests introduce themselves; some archives refuse clients without a contact address in it.
      allow_schemes: what may be read, as in `frozenset({"https", "s3"})`; local paths are `file`. Others are
        `forbidden`. None for every scheme, which suits URIs of your own making. Members of containers are read
        wherever those lie.
      public_hosts_only: whether http(s) hosts are `forbidden` whose address is private, loopback, link-local,
        multicast or reserved. Connections are direct then: behind a proxy nobody could tell.
    """

    max_bytes: int = 256 * MIB
    max_per_host: int = 16
    user_agent: str = "labelbeam"
    allow_schemes: frozenset[str] | None = None
    public_hosts_only: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "max_bytes", "max_per_host")
