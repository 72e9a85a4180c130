"""Labs on paper: every size that is offered has addresses within their prefixes, and no two things share a name."""

import ipaddress
from itertools import product

import pytest

from api.lab.topology import MAX_CLUSTERS, MAX_NODES, MAX_WORKLOADS, Topology, topology
from federation.errors import InvalidInput

SIZES = [*product((1, 5, MAX_CLUSTERS), (1, 3, MAX_NODES), (0, 1, 6, MAX_WORKLOADS))]


@pytest.mark.parametrize(("clusters", "nodes", "workloads"), SIZES)
def test_every_address_is_within_its_prefix_and_nobody_elses(
    clusters: int, nodes: int, workloads: int
) -> None:
    lab = topology("lab", clusters, nodes, workloads)
    assert (len(lab.prefixes), len(lab.nodes), len(lab.workloads)) == (
        clusters,
        clusters * nodes,
        clusters * workloads,
    )
    prefixes = {(node.cluster, node.name): ipaddress.ip_network(node.prefix) for node in lab.nodes}
    for (cluster, _), prefix in prefixes.items():
        assert prefix.subnet_of(ipaddress.IPv4Network(lab.prefixes[cluster]))
    for workload in lab.workloads:
        holders = [
            key for key, prefix in prefixes.items() if ipaddress.ip_address(workload.address) in prefix
        ]
        assert holders == [(workload.cluster, workload.node)]
    assert len({n.address for n in lab.nodes} | {w.address for w in lab.workloads}) == len(lab.nodes) + len(
        lab.workloads
    )


def names(lab: Topology) -> list[str]:
    return [*lab.namespaces, *(n.tunnel for n in lab.nodes), *(w.interface for w in lab.workloads)]


def test_names_differ_within_a_lab_and_between_labs_and_fit_the_kernel() -> None:
    both = [*names(topology("one", 8, 9, 20)), *names(topology("two", 8, 9, 20))]
    assert len(set(both)) == len(both)
    assert all(len(name) <= 15 for name in both if not name.startswith("cw-"))


def test_no_lab_is_found_by_the_beginning_of_anothers_name() -> None:
    assert not any(name.startswith("cw-one-") for name in topology("one1").namespaces)


def test_workloads_past_the_four_roles_get_names_of_their_own() -> None:
    assert [w.name for w in topology("lab", 1, 2, 6).workloads] == [
        "web",
        "api",
        "db",
        "batch",
        "web1",
        "api1",
    ]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((0, 1, 1), "--clusters takes 1 to 8"), ((9, 1, 1), "--clusters takes 1 to 8"), ((1, 0, 1), "--nodes takes 1 to 9"),
        ((1, 10, 1), "--nodes takes 1 to 9"), ((1, 1, -1), "--workloads takes 0 to 20"), ((1, 1, 21), "--workloads takes 0 to 20"),
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_had_is_refused_with_what_can(sizes: tuple[int, int, int], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        topology("lab", *sizes)
    assert refused.value.hint == said


@pytest.mark.parametrize("name", ["", "..", "a/b", "dc1-n1", "Upper", "a" * 13, "x\n"])
def test_a_name_that_could_mean_somebody_elses_files_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        topology(name)
