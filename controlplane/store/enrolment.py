"""Who gets in: join tokens, node credentials, users' tokens. Only hashes are stored; secrets are shown once."""

import hashlib
import hmac
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.intent import JoinRequest, JoinToken, NodeSession
from controlplane.invariants import admit
from controlplane.store import tables as t
from controlplane.store.database import next_number
from controlplane.store.unit_of_work import UnitOfWork
from federation.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from federation.kinds.node import NodeSpec, NodeStatus
from federation.resources.codec import decode, encode
from federation.resources.metadata import Metadata, ObjectKey, Resource


def new_secret() -> tuple[str, str, str]:
    """(id, text `id.secret`, digest of the secret)."""
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(24)
    return identifier, f"{identifier}.{secret}", digest(secret)


def digest(secret: str) -> str:
    """SHA-256: secrets are long and random, so no slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def spend_join_token(connection: AsyncConnection, request: JoinRequest, now: datetime) -> str:
    """Use a token once, and keep by whom; its id. Raises Unauthenticated (unknown, expired, used up) or Forbidden (bound to others)."""
    identifier, _, secret = request.token.strip().partition(".")
    row = (await connection.execute(select(t.join_tokens).where(t.join_tokens.c.id == identifier))).first()
    again = "make a new one: causeway token create --cluster " + request.cluster
    if row is None or not hmac.compare_digest(row.digest, digest(secret)):
        raise Unauthenticated("the join token is unknown", hint=again)
    if datetime.fromisoformat(row.expires) <= now:
        raise Unauthenticated(f"the join token {identifier} expired at {row.expires}", hint=again)
    if said := _not_meant(row, request):
        raise Forbidden(f"the join token {identifier} is {said}", hint=again)
    used = await connection.execute(
        update(t.join_tokens)
        .where(t.join_tokens.c.id == identifier, t.join_tokens.c.uses_left > 0)
        .values(uses_left=t.join_tokens.c.uses_left - 1)
    )
    if used.rowcount == 0:
        raise Unauthenticated(f"the join token {identifier} has been used", hint=again)
    c = t.token_uses.c
    before = (await connection.execute(select(func.count()).where(c.token == identifier))).scalar_one()
    use = {"cluster": request.cluster, "node": request.node, "source": request.source, "at": now.isoformat()}
    await connection.execute(insert(t.token_uses).values(token=identifier, sequence=before + 1, **use))
    return identifier


def _not_meant(row: Any, request: JoinRequest) -> str:
    """Why a token is not for this node; empty: it is."""
    if row.cluster != request.cluster:
        return f"for cluster {row.cluster}, not {request.cluster}"
    if row.role != request.role:
        return f"for a {row.role}, not for a {request.role}"
    if row.os and row.os != request.os:
        return f"for {row.os}, not {request.os}"
    if row.node and row.node != request.node:
        return f"for the {row.role} {row.node}, not {request.node}"
    if row.prefix and not _is_within(request.source, row.prefix):
        return f"for requests from {row.prefix}, not from {request.source or 'an unknown address'}"
    return ""


def _is_within(address: str, prefix: str) -> bool:
    try:
        return ip_address(address) in ip_network(prefix)
    except ValueError:
        return False


async def enrol(
    work: UnitOfWork, request: JoinRequest, tunnel_prefix: IPv4Network, enrolment: str = ""
) -> None:
    """Create the node, or take it over, when it is the same; what it had to show until now is void. `enrolment`: of its certificates.
    Raises Conflict for a node that is another."""
    wanted = decode(
        {
            "apiVersion": "causeway.dev/v1",
            "kind": "Node",
            "metadata": {"name": request.node, "cluster": request.cluster},
            "spec": {
                "addresses": [str(a) for a in request.addresses],
                "podPrefixes": [str(p) for p in request.pod_prefixes],
                "os": request.os,
            },
        }
    )
    standing = await work.find(wanted.key)
    if standing is None:
        spec: NodeSpec = wanted.spec
        address = await tunnel_address(work.connection, tunnel_prefix)
        status = NodeStatus(tunnel_address=address, enrolment=enrolment)
        metadata = Metadata(name=request.node, cluster=request.cluster, created=work.now, generation=1)
        await work.write(
            await admit(work, Resource(kind="Node", metadata=metadata, spec=spec, status=status))
        )
    elif (
        encode(replace(standing, spec=replace(standing.spec, wireguard=None)))["spec"]
        != encode(wanted)["spec"]
    ):
        raise Conflict(
            f"{wanted.key} has joined already, with other addresses or prefixes",
            hint="choose another name, or delete the old node first: causeway delete node " + wanted.key.path,
        )
    elif standing.status.enrolment != enrolment:
        await work.write(replace(standing, status=replace(standing.status, enrolment=enrolment)))
    await drop_node_credential(work.connection, request.cluster, request.node)


async def enrol_relay(work: UnitOfWork, request: JoinRequest, enrolment: str) -> None:
    """Let a relay in that users have declared; what it had to show until now is void. Raises NotFound."""
    standing = await work.find(ObjectKey("Relay", request.cluster, "", request.node))
    if standing is None:
        raise NotFound(
            f"relay {request.cluster}/{request.node} does not exist",
            hint=f"declare it, with the names that nodes ask it by: causeway relay create {request.cluster}/{request.node} --name NAME",
        )
    await work.write(replace(standing, status=replace(standing.status, enrolment=enrolment)))


async def drop_node_credential(connection: AsyncConnection, cluster: str, node: str) -> None:
    """A node's credential is void."""
    c = t.credentials.c
    await connection.execute(
        delete(t.credentials).where(c.role == "node", c.cluster == cluster, c.name == node)
    )


async def store_node_credential(connection: AsyncConnection, cluster: str, node: str) -> str:
    """A new credential; its text is not kept."""
    identifier, text, hashed = new_secret()
    await connection.execute(
        insert(t.credentials).values(id=identifier, digest=hashed, role="node", cluster=cluster, name=node)
    )
    return text


async def node_of(connection: AsyncConnection, text: str) -> NodeSession | None:
    """Whose a credential is; None: no node's."""
    identifier, _, secret = text.partition(".")
    c = t.credentials.c
    row = (
        await connection.execute(select(t.credentials).where(c.id == identifier, c.role == "node"))
    ).first()
    if row is None or not hmac.compare_digest(row.digest, digest(secret)):
        return None
    return NodeSession(cluster=row.cluster, node=row.name)


async def store_join_token(connection: AsyncConnection, asked: JoinToken, ttl_seconds: int, now: datetime) -> JoinToken:  # fmt: skip
    """A new join token like the one asked for; its text is shown this once. Raises InvalidInput."""
    if not 1 <= ttl_seconds <= 7 * 86400 or not 1 <= asked.uses_left <= 1000:
        raise InvalidInput("a join token lives 1 s to 7 days and is used 1 to 1000 times")
    if asked.bounds.node and asked.uses_left > 1:
        raise InvalidInput("a join token of one node is used once", hint="leave out the node, or the uses")
    identifier, text, hashed = new_secret()
    expires = (now + timedelta(seconds=ttl_seconds)).isoformat()
    token = replace(asked, id=identifier, expires=expires, created=now.isoformat(), text=text)
    bounds = token.bounds
    await connection.execute(
        insert(t.join_tokens).values(
            id=token.id,
            digest=hashed,
            cluster=token.cluster,
            expires=expires,
            uses_left=token.uses_left,
            role=bounds.role,
            os=bounds.os or None,
            prefix=bounds.prefix or None,
            node=bounds.node or None,
            created=token.created,
            created_by=token.created_by,
        )
    )
    return token


async def tunnel_address(connection: AsyncConnection, prefix: IPv4Network) -> str:
    """The next address of the tunnel prefix; never given twice."""
    offset = await next_number(connection, "tunnel")
    if offset >= prefix.num_addresses - 1:
        raise Conflict(
            f"the tunnel prefix {prefix} is used up", hint="start the control plane with a larger one"
        )
    return str(prefix[offset])


def node_key(session: NodeSession) -> ObjectKey:
    """The node that a session speaks for."""
    return ObjectKey("Node", session.cluster, "", session.node)


def holder_key(session: NodeSession) -> ObjectKey:
    """Whose certificate a session has: the node's that it speaks for, or a relay's that speaks for itself."""
    return node_key(session) if session.node else ObjectKey("Relay", session.cluster, "", session.relay)
