"""Certificates of a relay's nodes: looked at here, by what the stream tells of their enrolment; given by the control plane, which is asked for them."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.relay.feed import RelayFeed
from api.relay.roots import Roots
from api.relay.upstream import Upstream
from api.rest.relaying.behalf import written
from controlplane.clock import Clock
from controlplane.intent import JoinRequest, NodeSession
from controlplane.pki.certificates import Issued
from controlplane.pki.sessions import MOST_READ, Sessions
from federation.errors import Forbidden, InvalidInput, Unavailable


class RelayCertificates:
    """What the routes of agents need of `controlplane.pki.certificates.Certificates`."""

    def __init__(self, cluster: str, upstream: Upstream, feed: RelayFeed, clock: Clock) -> None:
        self.authorities: Roots = upstream.roots
        self._cluster = cluster
        self._upstream = upstream
        self._feed = feed
        self._sessions = Sessions(upstream.roots, feed.standing, feed.catch_up, clock)
        self._shown: OrderedDict[str, str] = OrderedDict()

    async def session_of(self, certificate: str) -> NodeSession:
        """Which node of this relay's cluster shows a certificate. Raises Unavailable, Unauthenticated, Forbidden."""
        self.must_serve()
        _, session = self._sessions.read(certificate)
        if not session.node or session.cluster != self._cluster:
            said = f"this relay serves nodes of {self._cluster}, not {session.cluster}/{session.node or session.relay}"
            raise Forbidden(said, hint="ask the control plane, or a relay of that cluster")
        await self._sessions.must_stand(session)
        self._shown[session.serial] = written(certificate)
        self._shown.move_to_end(session.serial)
        while len(self._shown) > MOST_READ:
            self._shown.popitem(last=False)
        return session

    def must_serve(self) -> None:
        """That this relay may serve. Raises Unavailable."""
        if self._feed.refusal:
            said = f"the control plane does not let this relay in: {self._feed.refusal}"
            raise Unavailable(
                said, hint="on the relay's machine: causeway relay join; or ask the control plane"
            )
        if not self.authorities.all or not self._feed.has_state:
            raise Unavailable("this relay has not reached the control plane yet, and has nothing on disk")

    def is_good(self, session: NodeSession) -> bool:
        """Whether the node stands, as the stream told it, and this relay is let in still."""
        return not self._feed.refusal and self._sessions.is_good(session)

    def has_expired(self, session: NodeSession) -> bool:
        """Whether the certificate's time is over."""
        return self._sessions.has_expired(session)

    def behalf_of(self, session: NodeSession) -> str:
        """What says at the control plane that it is this node's doing."""
        return self._shown[session.serial]

    async def join(self, wanted: JoinRequest, csr: str) -> Issued:
        """A new node: the control plane lets it in. Raises Unavailable while that is away, and what it refuses."""
        body = {
            "token": wanted.token,
            "cluster": wanted.cluster,
            "node": wanted.node,
            "os": wanted.os,
            "addresses": [str(address) for address in wanted.addresses],
            "podPrefixes": [str(prefix) for prefix in wanted.pod_prefixes],
            "csr": csr,
            "role": wanted.role,
        }
        return _issued(await self._upstream.ask("POST", "/agent/v1/join", body, source=wanted.source))

    async def renew(self, session: NodeSession, csr: str, proof: str = "") -> Issued:
        """A new certificate for a node that has one. Raises Unavailable while the control plane is away, and what it refuses."""
        body = {"csr": csr, "proof": proof}
        behalf = self.behalf_of(session)
        return _issued(await self._upstream.ask("POST", "/agent/v1/renew", body, behalf=behalf))

    async def recover(self, certificate: str, csr: str) -> Issued:
        """A new certificate for one that has expired. Raises as `renew` does."""
        body = {"certificate": certificate, "csr": csr}
        return _issued(await self._upstream.ask("POST", "/agent/v1/recover", body))

    async def confirm(self, session: NodeSession, digest: str) -> None:
        """A node has a trust bundle. Raises Unavailable while the control plane is away."""
        behalf = self.behalf_of(session)
        await self._upstream.ask("POST", "/agent/v1/trust", {"digest": digest}, behalf=behalf)


def _issued(answer: Mapping[str, Any]) -> Issued:
    try:
        return Issued(
            chain=str(answer["certificate"]),
            serial=str(answer["serial"]),
            not_before=datetime.fromisoformat(answer["notBefore"]),
            not_after=datetime.fromisoformat(answer["notAfter"]),
            issued=datetime.fromisoformat(answer["issued"]),
            bundle=str(answer["bundle"]),
            issuer=str(answer["issuer"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the control plane gave no certificate") from error
