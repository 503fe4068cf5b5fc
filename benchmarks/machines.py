"""Machines, as far as one can be taken apart: network namespaces with addresses and host names of their own.

It takes Linux and root. They share a kernel and its files; what runs on one of them can be killed or stopped at once.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.fakes.processes import descendants

HOST = "10.213.7.1"  # this machine, as the others see it
_BRIDGE, _BITS = "labelbeam0", 24
_TCP_RETRIES = (
    5  # some ten seconds, until the kernel gives up a connection that nobody answers; its own 15 take minutes
)


@dataclass(frozen=True)
class Machine:
    """One of them.

    Attributes:
      name: of its network namespace.
      address: as this machine and the others see it; its host name, too, so that it can be resolved.
      device: this machine's end of its cable.
    """

    name: str
    address: str
    device: str

    @property
    def prefix(self) -> list[str]:
        """In front of a command that is to run there."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.address]
        return ["ip", "netns", "exec", self.name, *named]

    def plug(self, is_in: bool) -> None:
        """Puts its cable in, or takes it out."""
        _ip("link", "set", self.device, "up" if is_in else "down")


@contextlib.contextmanager
def network(count: int) -> Iterator[list[Machine]]:
    """Machines in one network with this one, while the context lasts."""
    found = [
        Machine(f"labelbeam-{number}", f"{HOST.rpartition('.')[0]}.{number + 1}", f"labelbeam0p{number}")
        for number in range(1, count + 1)
    ]
    try:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("address", "add", f"{HOST}/{_BITS}", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        for machine in found:
            _ip("netns", "add", machine.name)
            _ip("link", "add", machine.device, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
            _ip("link", "set", machine.device, "master", _BRIDGE, "up")
            _ip("-n", machine.name, "address", "add", f"{machine.address}/{_BITS}", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", machine.name, "link", "set", device, "up")
            _ip("netns", "exec", machine.name, "sysctl", "--quiet", f"net.ipv4.tcp_retries2={_TCP_RETRIES}")
        yield found
    finally:
        for machine in found:
            subprocess.run(["ip", "netns", "delete", machine.name], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "delete", _BRIDGE], stderr=subprocess.DEVNULL)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def send(number: signal.Signals, pids: Sequence[int]) -> list[int]:
    """Sends a signal to processes and to all that they have started; returns the ids of those that got it."""
    everyone = [*pids, *(child for pid in pids for child in descendants(pid))]
    for pid in everyone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return everyone
