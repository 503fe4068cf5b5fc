"""What may be read: lists are written by strangers, and workers can reach what strangers can't.

`ReadOptions.allow_schemes` is checked for every image before anything is opened, and again for every redirect;
`ReadOptions.public_hosts_only` for the very address that a connection is then made to. What a user names (files,
folders, containers and the lists themselves) is theirs to read.
"""

import ipaddress
from collections.abc import Collection

from .errors import StorageError

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def check_scheme(scheme: str, allowed: Collection[str] | None) -> None:
    """Raises StorageError (`forbidden`) unless a scheme is among those allowed; None allows all."""
    if allowed is not None and scheme not in allowed:
        raise StorageError(
            "forbidden",
            f"the scheme {scheme} isn't among those that may be read "
            f"({', '.join(sorted(allowed))}); if it may, say so with --allow-schemes",
        )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local, multicast or reserved.

    IPv6 addresses that stand for an IPv4 address (mapped, 6to4, NAT64) are public if that one is.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if (embedded := ip.ipv4_mapped or ip.sixtofour) is not None:
            return is_public(str(embedded))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
        if ip.is_site_local:
            return False
    # `is_global` alone holds for multicast, and has had gaps in some versions of Python.
    return ip.is_global and not (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )
