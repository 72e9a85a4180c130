"""Which node is meant: one answer, or an error that says what there is."""

from pathlib import Path

import pytest

from api.cli.datapath.choice import known_agents, named
from federation.errors import InvalidInput, NotFound


def agent(folder: Path, cluster: str, node: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "agent.toml").write_text(f'server = "http://c"\ncluster = "{cluster}"\nnode = "{node}"\n')
    (folder / "credential").touch(0o600)
    (folder / "credential").write_text("x.y")
    return folder


def test_a_node_is_found_among_the_agents_of_labs(tmp_path: Path) -> None:
    own = agent(tmp_path / "own", "dc9", "n9")
    first = agent(tmp_path / "labs" / "demo" / "demo-dc1-n1", "dc1", "n1")
    agent(tmp_path / "labs" / "demo" / "demo-aws1-n1", "aws1", "n1")
    (tmp_path / "labs" / "demo" / "server").mkdir()
    (broken := tmp_path / "labs" / "other" / "x").mkdir(parents=True)
    (broken / "agent.toml").write_text("no toml")
    agents = list(known_agents((own, tmp_path / "labs")))
    assert sorted(s.key.path for s in agents) == ["aws1/n1", "dc1/n1", "dc9/n9"]
    assert named("dc1/n1", agents).state_dir == first
    assert named("n9", agents).state_dir == own
    with pytest.raises(InvalidInput, match="several agents are of a node 'n1'") as caught:
        named("n1", agents)
    assert str(first) in caught.value.hint
    with pytest.raises(NotFound, match="no agent of a node 'n2'") as unknown:
        named("n2", agents)
    assert "dc1/n1" in unknown.value.hint
