"""Which node a command is about: by its agent's state directory, or by its name among all agents of this machine."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.cli.trust.join import STATE
from api.lab.build import LABS
from federation.errors import CausewayError, InvalidInput, NotFound
from nodeagent.dataplane.ebpf.inspect.pins import must_have_rights
from nodeagent.settings import AgentSettings, load_settings

StateDirOption = Annotated[Path | None, typer.Option("--state-dir", help="Where the agent keeps its state.")]
NodeOption = Annotated[
    str, typer.Option("--node", help="The node (CLUSTER/NAME or NAME), where several agents are on this machine: in a lab.")
]  # fmt: skip
OutputOption = Annotated[str, typer.Option("-o", "--output", help="table or json.")]
FORMATS = ("table", "json")


def chosen(context: typer.Context, state_dir: Path | None, node: str, output: str = "table") -> AgentSettings:
    """The settings of the node that is meant. Raises Forbidden without rights, InvalidInput or NotFound."""
    if output not in FORMATS:
        raise InvalidInput(f"unknown output {output!r}", hint=f"one of {', '.join(FORMATS)}")
    must_have_rights()
    place: Path = state_dir or context.obj
    if node:
        return named(node, known_agents((place, LABS)))
    try:
        return load_settings(place)
    except InvalidInput as error:
        others = [s.key.path for s in known_agents((LABS,))]
        if place != STATE or not others:
            raise
        hint = f"name one with --node: {', '.join(sorted(others)[:8])}; or give --state-dir"
        raise InvalidInput(f"no agent of this machine itself ({place}); labs have some", hint=hint) from error


def named(node: str, agents: Iterable[AgentSettings]) -> AgentSettings:
    """The one agent with a node's name. Raises NotFound, or InvalidInput when it is several."""
    known = {s.state_dir: s for s in agents}
    found = [s for s in known.values() if node in (s.node, s.key.path)]
    if not found:
        names = ", ".join(sorted(s.key.path for s in known.values())[:8]) or "no agent at all"
        raise NotFound(f"no agent of a node {node!r} on this machine", hint=f"here are: {names}")
    if len(found) > 1:
        folders = ", ".join(sorted(str(s.state_dir) for s in found))
        raise InvalidInput(
            f"several agents are of a node {node!r}", hint=f"write CLUSTER/NAME, or --state-dir: {folders}"
        )
    return found[0]


def known_agents(places: Iterable[Path]) -> Iterator[AgentSettings]:
    """Agents whose state lies in one of the places, or in a folder of a lab there; those whose settings cannot be read are passed over."""
    for place in places:
        for file in (*place.glob("agent.toml"), *place.glob("*/*/agent.toml")):
            try:
                yield load_settings(file.parent)
            except CausewayError:
                continue
