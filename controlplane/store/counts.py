"""What nodes have counted of policies' rules: the newest word of each node, summed when somebody asks."""

from collections.abc import Mapping

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.intent import RuleCount
from controlplane.store import tables as t
from federation.resources.metadata import ObjectKey

KEY = ("policy", "section", "rule", "cluster", "node")
AT_ONCE = 1000
"""Names in a statement: databases take some 32,000 parameters."""


Told = Mapping[tuple[str, str, ObjectKey, str, int], RuleCount]
"""By cluster, node, policy, section and rule."""


async def store_counts(connection: AsyncConnection, told: Told) -> None:
    """Keep nodes' newest totals. Those of policies that are gone are passed over: their nodes have not heard of it yet."""
    standing = await _standing(connection, {count.policy for count in told.values()})
    rows = [
        {
            "policy": str(policy),
            "section": section,
            "rule": rule,
            "cluster": cluster,
            "node": node,
            "packets": count.packets,
            "bytes": count.bytes,
        }
        for (cluster, node, policy, section, rule), count in sorted(told.items(), key=lambda item: item[0])
        if policy in standing
    ]
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(t.rule_counts)
    newest = {name: insert.excluded[name] for name in ("packets", "bytes")}
    await connection.execute(insert.on_conflict_do_update(index_elements=KEY, set_=newest), rows)


async def counts_of(connection: AsyncConnection, policy: ObjectKey) -> tuple[tuple[RuleCount, ...], int]:
    """(totals over all nodes by rule, in order; how many nodes have told any)."""
    c = t.rule_counts.c
    is_its = c.policy == str(policy)
    summed = (
        select(c.section, c.rule, func.sum(c.packets).label("packets"), func.sum(c.bytes).label("bytes"))
        .where(is_its)
        .group_by(c.section, c.rule)
        .order_by(c.section, c.rule)
    )
    rows = await connection.execute(summed)
    nodes = select(c.cluster, c.node).where(is_its).distinct().subquery()
    count = (await connection.execute(select(func.count()).select_from(nodes))).scalar()
    found = tuple(
        RuleCount(policy=policy, section=r.section, rule=r.rule, packets=int(r.packets), bytes=int(r.bytes))
        for r in rows
    )
    return found, int(count or 0)


async def _standing(connection: AsyncConnection, policies: set[ObjectKey]) -> set[ObjectKey]:
    c = t.resources.c
    names = [(key.kind, key.cluster, key.namespace, key.name) for key in policies]
    found: set[ObjectKey] = set()
    for at in range(0, len(names), AT_ONCE):
        statement = select(c.kind, c.cluster, c.namespace, c.name).where(
            tuple_(c.kind, c.cluster, c.namespace, c.name).in_(names[at : at + AT_ONCE])
        )
        found |= {ObjectKey(*row) for row in await connection.execute(statement)}
    return found
