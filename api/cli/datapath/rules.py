"""The rules of one policy with what all nodes have counted of each: what `get POLICY NAME -o wide` adds."""

from collections.abc import Iterator, Mapping
from typing import Any

from api.cli.client import Client, RefusedError
from api.cli.common import OUT, path_of
from api.cli.datapath.show import as_table, size
from federation.resources.kind import Kind

SECTIONS = ("ingress", "egress", "ingressDeny", "egressDeny")
TITLES = ("SECTION", "RULE", "ACTION", "SUMMARY", "PACKETS", "BYTES")
WIDEST = 60
Place = tuple[str, int]


def show_rules(client: Client, kind: Kind, item: dict[str, Any]) -> None:
    """Print them; a control plane that does not know counts yet costs the counts only. Raises RefusedError."""
    nodes, counts = -1, {}
    try:
        answer = client.ask("GET", "/api/v1/rulecounts", kind=kind.name, policy=path_of(kind, item))
        nodes = answer["nodes"]
        counts = {(c["section"], c["rule"]): (c["packets"], c["bytes"]) for c in answer["items"]}
    except RefusedError as error:
        if error.reason != "not-found":
            raise
    OUT.print()
    as_table(TITLES, lines_of(item.get("spec", {}), counts))
    said = f"as {nodes} nodes have counted" if nodes > 0 else "no node has counted anything yet"
    OUT.print(f"{said}; a node tells every 30 s", highlight=False)


def lines_of(spec: Mapping[str, Any], counts: Mapping[Place, tuple[int, int]]) -> Iterator[tuple[str, ...]]:
    """One line for each rule of a policy's document, or that was counted though the document does not show it."""
    rules: dict[Place, Mapping[str, Any]] = {
        (section, index): rule
        for section in SECTIONS
        for index, rule in enumerate(spec.get(section) or ())
        if isinstance(rule, Mapping)
    }
    for section, index in [*rules, *sorted(counts.keys() - rules.keys())]:
        rule = rules.get((section, index), {})
        packets, count = counts.get((section, index), (0, 0))
        action = rule.get("action") or ("Deny" if section.endswith("Deny") else "Allow")
        yield (section, str(index), str(action), summary(rule), str(packets), size(count))


def summary(rule: Mapping[str, Any]) -> str:
    """A rule in a few words: all that is set, shortened."""
    said = " ".join(_parts(rule))
    return said if len(said) <= WIDEST else said[: WIDEST - 1] + "…"


def _parts(rule: Mapping[str, Any]) -> Iterator[str]:
    for name in ("name", "protocol"):
        if rule.get(name):
            yield str(rule[name])
    for name, value in rule.items():
        if name not in ("name", "protocol", "action", "metadata") and value not in (None, "", [], {}):
            yield f"{name}: {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = (f"{name} {_short(part)}" for name, part in value.items() if part not in (None, "", [], {}))
        return ", ".join(inner) or "any"
    if isinstance(value, list):
        return "|".join(_short(part) for part in value)
    return str(value)
