"""Reading the store, and the few writes that make no revision."""

import json
from collections.abc import Mapping
from itertools import groupby

from sqlalchemy import and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.hub import Held, Transaction, held
from controlplane.intent import JoinToken, NodeReport, TokenBounds, TokenUse
from controlplane.store import tables as t
from federation.errors import InvalidInput
from federation.kinds.registry import BY_NAME
from federation.resources.codec import decode
from federation.resources.metadata import NO_CLUSTER, AnyResource, ObjectKey, Scope


def key_of_path(kind: str, path: str) -> ObjectKey:
    """The inverse of `ObjectKey.path`. Raises InvalidInput."""
    parts = path.split("/")
    known = BY_NAME[kind]
    scope = known.scope
    if scope is Scope.CLUSTER and known.is_cluster_optional and len(parts) == 1:
        parts = [NO_CLUSTER, *parts]
    wanted = {Scope.FEDERATION: 1, Scope.CLUSTER: 2, Scope.NAMESPACE: 3}[scope]
    if len(parts) != wanted or not all(parts):
        raise InvalidInput(
            f"{path!r} does not name a {kind}", hint=f"{wanted} part(s) between slashes are needed"
        )
    cluster = "" if wanted == 1 or parts[0] == NO_CLUSTER else parts[0]
    return ObjectKey(kind, cluster, parts[1] if wanted == 3 else "", parts[-1])


async def find(connection: AsyncConnection, key: ObjectKey) -> AnyResource | None:
    """One resource as it is stored."""
    c = t.resources.c
    where = and_(
        c.kind == key.kind, c.cluster == key.cluster, c.namespace == key.namespace, c.name == key.name
    )
    row = (await connection.execute(select(c.document).where(where))).first()
    return decode(json.loads(row.document), is_trusted=True) if row else None


async def everything(connection: AsyncConnection) -> list[Held]:
    """All that stands, as the hub holds it."""
    c = t.resources.c
    rows = await connection.execute(select(c.kind, c.cluster, c.namespace, c.name, c.document))
    return [held(ObjectKey(r.kind, r.cluster, r.namespace, r.name), r.document) for r in rows]


async def transactions_after(connection: AsyncConnection, revision: int) -> list[Transaction]:
    """The change log beyond `revision`, in order."""
    c = t.changes.c
    statement = select(c.revision, c.kind, c.path, c.document).where(c.revision > revision)
    rows = (await connection.execute(statement.order_by(c.revision, c.sequence))).all()
    return [
        Transaction(number, tuple(held(key_of_path(r.kind, r.path), r.document) for r in group))
        for number, group in groupby(rows, key=lambda r: int(r.revision))
    ]


async def latest_transactions(connection: AsyncConnection, rows: int) -> list[Transaction]:
    """The end of the change log, as whole transactions of together at most so many changes."""
    c = t.changes.c
    numbers = select(c.revision).order_by(c.revision.desc(), c.sequence.desc()).limit(rows + 1)
    found = list((await connection.execute(numbers)).scalars())
    if not found:
        return []
    before = found[-1] if len(found) > rows else found[-1] - 1  # the first of too many may be a part only
    return await transactions_after(connection, before)


async def node_progress(connection: AsyncConnection) -> tuple[list[str], dict[str, tuple[int, str]]]:
    """(all nodes as cluster/node, newest report of each: revision and faults as JSON)."""
    c = t.resources.c
    nodes = await connection.execute(
        select(c.cluster, c.name).where(c.kind == "Node").order_by(c.cluster, c.name)
    )
    reports = await connection.execute(select(t.node_reports))
    return [f"{n.cluster}/{n.name}" for n in nodes], {
        f"{r.cluster}/{r.node}": (r.revision, r.faults) for r in reports
    }


async def reports(connection: AsyncConnection) -> dict[tuple[str, str], tuple[int, str]]:
    """By cluster and node: the revision that its kernel enforces, and when it said so."""
    c = t.node_reports.c
    rows = await connection.execute(select(c.cluster, c.node, c.revision, c.at))
    return {(r.cluster, r.node): (int(r.revision), r.at) for r in rows}


async def store_reports(
    connection: AsyncConnection, told: Mapping[tuple[str, str], NodeReport], now: str
) -> None:
    """Keep nodes' newest reports, by cluster and node; one statement, for two replicas may take the first two of one node at once."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    rows = [
        {"cluster": cluster, "node": node, "revision": report.revision, "faults": json.dumps(report.faults), "at": now}
        for (cluster, node), report in sorted(told.items(), key=lambda item: item[0])
    ]  # fmt: skip
    insert = dialect.insert(t.node_reports)
    newest = {name: insert.excluded[name] for name in ("revision", "faults", "at")}
    await connection.execute(insert.on_conflict_do_update(index_elements=["cluster", "node"], set_=newest), rows)  # fmt: skip


async def join_tokens(connection: AsyncConnection) -> tuple[JoinToken, ...]:
    """Every stored join token, without its secret."""
    used: dict[str, list[TokenUse]] = {}
    for r in await connection.execute(select(t.token_uses).order_by(t.token_uses.c.sequence)):
        use = TokenUse(cluster=r.cluster, node=r.node, source=r.source, at=r.at)
        used.setdefault(r.token, []).append(use)
    return tuple(
        JoinToken(
            id=r.id,
            cluster=r.cluster,
            expires=r.expires,
            uses_left=r.uses_left,
            bounds=TokenBounds(role=r.role, os=r.os or "", prefix=r.prefix or "", node=r.node or ""),
            created=r.created or "",
            created_by=r.created_by or "",
            used=tuple(used.get(r.id, ())),
        )
        for r in await connection.execute(select(t.join_tokens).order_by(t.join_tokens.c.expires))
    )


async def drop_join_token(connection: AsyncConnection, token_id: str) -> bool:
    """Whether there was one."""
    return (
        await connection.execute(delete(t.join_tokens).where(t.join_tokens.c.id == token_id))
    ).rowcount > 0


async def compact(connection: AsyncConnection, until: int) -> None:
    """Drop the log up to a revision, itself included."""
    await connection.execute(delete(t.changes).where(t.changes.c.revision <= until))
    await connection.execute(update(t.counters).where(t.counters.c.name == "compacted").values(value=until))
