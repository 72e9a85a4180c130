"""For whom a request speaks that comes over a relay's certificate.

A relay says so by the certificate that the node has shown it (`Causeway-On-Behalf`, DER in base64), not by a name: so it speaks for nodes of its own
cluster that it has met, and each of them is looked at as if it had come itself. That the certificate has not expired the relay has seen when the
node spoke: what was said while the control plane was away counts.
"""

import base64
import ssl
from dataclasses import replace

from fastapi import Request

from controlplane.intent import NodeSession
from federation.errors import Forbidden, Unauthenticated

HEADER, SOURCE = "causeway-on-behalf", "causeway-source"


async def speaker(request: Request, session: NodeSession, *, is_for_itself: bool) -> NodeSession:
    """Who speaks, over a connection whose certificate is `session`'s. `is_for_itself`: a relay may ask this for itself. Raises Forbidden,
    Unauthenticated."""
    given = request.headers.get(HEADER)
    if given is None:
        if session.node or is_for_itself:
            return session
        raise Forbidden(
            f"{session.cluster}/{session.relay} is a relay: for itself it has nothing to say here"
        )
    if session.node:
        raise Forbidden(f"{session.cluster}/{session.node} is no relay: it speaks for itself only")
    return await node_behind(request, session, given)


async def node_behind(request: Request, relay: NodeSession, given: str) -> NodeSession:
    """The node that a relay speaks for, by the header's value. Raises Forbidden, Unauthenticated."""
    node: NodeSession = await request.app.state.plane.certificates.session_of(_certificate(given))
    if not node.node or node.cluster != relay.cluster:
        other = f"{node.cluster}/{node.node or node.relay}"
        raise Forbidden(f"relay {relay.cluster}/{relay.relay} speaks for nodes of {relay.cluster}, not for {other}")  # fmt: skip
    return replace(node, relay=relay.relay, until=None)


async def source_of(request: Request, cluster: str) -> str:
    """The address that who joins a cluster comes from: a relay of it is believed."""
    near = request.client.host if request.client else ""
    said = request.headers.get(SOURCE)
    shown = (request.scope.get("extensions", {}).get("tls") or {}).get("client_cert_chain")
    if not said or not shown:
        return near
    session: NodeSession = await request.app.state.plane.certificates.session_of(shown[0])
    return said[:60] if session.relay and session.cluster == cluster else near


def written(certificate: str) -> str:
    """The header's value for a certificate in PEM."""
    return base64.b64encode(ssl.PEM_cert_to_DER_cert(certificate)).decode()


def _certificate(given: str) -> str:
    try:
        return ssl.DER_cert_to_PEM_cert(base64.b64decode(given, validate=True))
    except ValueError as error:
        raise Unauthenticated(f"{HEADER} is no certificate: {error}") from error
