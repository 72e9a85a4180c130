"""What the numbers are called: kept on disk, and read back by whoever asks, agent or not."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from federation.errors import InvalidInput, NotFound, Unavailable
from federation.policy.tables import RuleReference
from federation.resources.metadata import ObjectKey
from nodeagent.control import cache
from nodeagent.control.replica import State, key_of
from nodeagent.dataplane.ebpf.inspect import names
from nodeagent.dataplane.ebpf.inspect.names import LocalEndpoint, NodeNames

DB = IPv4Address("10.10.1.1")
POLICY = ObjectKey("NetworkPolicy", "dc1", "shop", "web")
KNOWN = NodeNames(
    mark=(3, 8),
    endpoints=(
        LocalEndpoint(endpoint="dc1/shop/db", interface="veth300", index=7, identity=300, addresses=(DB,)),
    ),
    references={
        0: RuleReference(tier="default", policy=POLICY, index=2, section="ingress"),
        1: RuleReference(tier="default", policy=None, index=None),
    },
)


def test_names_come_back_as_they_were_and_are_nobody_elses(tmp_path: Path) -> None:
    names.save(tmp_path, KNOWN)
    assert names.load(tmp_path).node == KNOWN
    assert (tmp_path / names.FILE).stat().st_mode & 0o777 == 0o600


def test_rules_endpoints_and_identities_are_named(
    tmp_path: Path, worlds: dict[str, list[dict[str, Any]]]
) -> None:
    names.save(tmp_path, KNOWN)
    cache.save(tmp_path / "cache.json", State(revision=3, documents={key_of(d): d for d in worlds["linked"]}))
    found = names.load(tmp_path)
    assert found.rule(0) == "NetworkPolicy dc1/shop/web ingress rule 2"
    assert found.rule(1) == "end of tier default"
    assert (found.rule(None), found.rule(99)) == ("none", "rule number 99 (not in names.json)")
    assert found.who(DB) == "dc1/shop/db"
    assert found.who(IPv4Address("10.20.1.1")) == "aws1/shop/web", "an endpoint of another cluster"
    assert found.who(IPv4Address("192.0.2.10")) == found.who(IPv4Address("100.64.0.10")) == "node dc1/n1"
    assert found.who(IPv4Address("192.0.2.77")) == "192.0.2.77"
    assert [found.identity(n) for n in (1, 2, 301, 999)] == [
        "1 (host)",
        "2 (world)",
        "301 (aws1/shop/web)",
        "999",
    ]
    assert found.endpoint_at(7) == KNOWN.endpoints[0]
    assert found.endpoint_at(0) is None


def test_an_identity_of_several_says_how_many(worlds: dict[str, list[dict[str, Any]]]) -> None:
    twin = {
        **worlds["linked"][-2],
        "kind": "Endpoint",
        "metadata": {"cluster": "dc1", "namespace": "shop", "name": "db2"},
    }
    twin |= {"spec": {"addresses": ["10.10.1.2"]}, "status": {"identity": 300}}
    found = names.with_state(KNOWN, State(documents={key_of(d): d for d in (*worlds["linked"], twin)}))
    assert found.identity(300) == "300 (dc1/shop/db and 1 more)"


def test_a_cache_that_cannot_be_used_costs_names_only_and_stays(tmp_path: Path) -> None:
    names.save(tmp_path, KNOWN)
    (tmp_path / "cache.json").write_text("rubbish")
    found = names.load(tmp_path)
    assert found.state.documents == {}
    assert found.who(DB) == "dc1/shop/db"
    assert (tmp_path / "cache.json").read_text() == "rubbish"


def test_what_is_not_there_or_not_readable_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has not written its names") as caught:
        names.load(tmp_path)
    assert "--state-dir" in caught.value.hint
    for text in (
        "",
        "[]",
        '{"format": 9}',
        '{"format": 1, "mark": [1]}',
        '{"format": 1, "mark": [1, 2], "endpoints": [1]}',
    ):
        (tmp_path / names.FILE).write_text(text)
        with pytest.raises(InvalidInput, match="does not hold an agent's names"):
            names.load(tmp_path)
    with pytest.raises(Unavailable, match="was not written"):
        names.save(tmp_path / "nowhere", KNOWN)
