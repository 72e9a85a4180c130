"""WireGuard in memory: the same laws as the kernel's. Fails on demand."""

from ipaddress import IPv4Network

from federation.errors import DriverError
from tunnels.driver.plan import Observed, Plan, TunnelSettings, plan
from tunnels.keys import KeyPair


class FakeTunnel:
    """TunnelDriver in memory. `failure` makes the next calls fail; a prefix that a peer is given leaves the one that had it."""

    name = "fake"

    def __init__(self, keys: KeyPair) -> None:
        self.keys = keys
        self.failure = ""
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
