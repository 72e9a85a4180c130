"""WireGuard in memory: the same laws as the kernel's. Fails on demand."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from federation.errors import DriverError
from tunnels.driver.plan import Observed, Plan, TunnelSettings, begin_anew, plan
from tunnels.keys import KeyPair
from tunnels.peers import TunnelPeer


class FakeTunnel:
    """TunnelDriver in memory. `failure` makes the next calls fail; a prefix that a peer is given leaves the one that had it."""

    name = "fake"

    def __init__(self, keys: KeyPair) -> None:
        self.keys = keys
        self.failure = ""
        self.answering: set[str] = set()
        """Public keys of who answers a handshake that is begun anew."""
        self.plans: list[Plan] = []
        self._standing: Observed | None = None

    def converge(self, settings: TunnelSettings) -> bool:
        """Make it so. Raises DriverError on demand."""
        if self.failure:
            raise DriverError(self.failure)
        standing = self._standing or Observed(public_key="", listen_port=0, peers={})
        change = plan(standing, self.keys.public, settings.listen_port, settings.peers)
        self.plans.append(change)
        self._standing = applied(standing, change, self.keys.public)
        return not change.is_empty

    def begin_anew(self, peers: Sequence[TunnelPeer]) -> None:
        """Send their first handshake once more; who is among `answering` answers. Raises DriverError on demand."""
        if self.failure:
            raise DriverError(self.failure)
        if self._standing is not None:
            change = begin_anew(self._standing, peers)
            self.plans.append(change)
            standing = applied(self._standing, change, self.keys.public)
            answers = {each.public_key: 1 for each in change.changes if each.public_key in self.answering}
            self._standing = replace(standing, handshakes={**standing.handshakes, **answers})

    def observed(self) -> Observed | None:
        """What stands."""
        return self._standing

    def is_alive(self) -> bool:
        """Whether there is an interface."""
        return self._standing is not None

    def remove(self) -> None:
        """Forget it; also what a crash of the process comes to."""
        self._standing = None


def applied(standing: Observed, change: Plan, public_key: str) -> Observed:
    """What stands after a plan, as the kernel would have it."""
    peers: dict[str, frozenset[IPv4Network]] = dict(standing.peers)
    endpoints = dict(standing.endpoints)
    for key in change.removals:
        peers.pop(key, None)
        endpoints.pop(key, None)
    for each in change.changes:
        given = frozenset(each.allowed_ips)
        peers = {key: nets - given for key, nets in peers.items()} | {each.public_key: given}
        if each.endpoint is not None:
            endpoints[each.public_key] = f"{each.endpoint[0]}:{each.endpoint[1]}"
    return Observed(
        public_key=public_key if change.has_new_key else standing.public_key,
        listen_port=standing.listen_port if change.listen_port is None else change.listen_port,
        peers=peers,
        endpoints=endpoints,
        handshakes={key: when for key, when in standing.handshakes.items() if key in peers},
    )
