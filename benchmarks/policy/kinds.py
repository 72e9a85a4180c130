"""The changes that are measured, each with what undoes it."""

import random
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from benchmarks.policy import fleet
from federation.compiler.change import Change
from federation.identities import CLUSTER_LABEL, IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.policy import model
from federation.policy.world import LabelledNets, World
from federation.resources.metadata import API_VERSION, ObjectKey
from federation.selectors import parse

Changes = Callable[[int], tuple[Change, ...]]
"""The n-th change, and what undoes it."""
OF_ALL = "a policy of all endpoints, 110 of them local, "
"""Begins the names of changes that touch all of the world."""


def of(world: World, policies: int) -> dict[str, Changes]:
    """By what they are called in the table."""
    return {
        "an identity added or removed": _identity(world),
        "a remote endpoint moved": _remote(world),
        "a local endpoint moved away or back": _local(world),
        "a policy edited": _policy(world, policies),
        OF_ALL + "edited": _policy_of_all,
        OF_ALL + "added or removed": _added_for_all,
        "a namespace relabelled": _namespace(world),
    }


def updates(world: World) -> Callable[[int], Change]:
    """The n-th of a stream of changed endpoints."""
    rng = random.Random(2)
    remote, here = _parted(world)
    count, spaces = len(world.identities), len(world.namespace_labels)

    def update(n: int) -> Change:
        one = rng.choice(here if n % 10 == 0 else remote)
        if n % 3:
            address = IPv4Address((12 << 24) + n)
            return Change(endpoints={one.key: replace(one, spec=replace(one.spec, addresses=(address,)))})
        other = fleet.endpoint_of(rng.randrange(count), n, one.spec.node, spaces)
        labels = replace(one.metadata, labels=other.metadata.labels)
        return Change(endpoints={one.key: replace(one, metadata=labels, status=other.status)})

    return update


def set_of(nets: tuple[IPv4Network, ...]) -> Change:
    """The fleet's network set with these prefixes."""
    known = LabelledNets(labels={"role": fleet.BLOCKED}, nets=nets, name=fleet.BLOCKED)
    return Change(network_sets={fleet.BLOCKED: known})


def document_of(nets: tuple[IPv4Network, ...]) -> dict[str, Any]:
    """As a user writes it."""
    return {
        "apiVersion": API_VERSION, "kind": "GlobalNetworkSet", "metadata": {"name": fleet.BLOCKED, "labels": {"role": fleet.BLOCKED}},
        "spec": {"nets": [str(net) for net in nets]},
    }  # fmt: skip


def _parted(world: World) -> tuple[list[Endpoint], list[Endpoint]]:
    """(remote, local)."""
    parts: tuple[list[Endpoint], list[Endpoint]] = ([], [])
    for endpoint in world.endpoints.values():
        parts[endpoint.spec.node == fleet.HOME].append(endpoint)
    return parts


def _identity(world: World) -> Changes:
    count, spaces = len(world.identities), len(world.namespace_labels)

    def change(n: int) -> tuple[Change, ...]:
        number = IdentityNumber(256 + count + n)
        labels = fleet.labels_of(n * 31 % count, spaces)
        return Change(identities={number: labels}), Change(identities={number: None})

    return change


def _remote(world: World) -> Changes:
    rng, (endpoints, _) = random.Random(1), _parted(world)

    def change(n: int) -> tuple[Change, ...]:
        one = rng.choice(endpoints)
        moved = replace(one, spec=replace(one.spec, node="node-x", addresses=(IPv4Address((11 << 24) + n),)))
        return Change(endpoints={one.key: moved}), Change(endpoints={one.key: one})

    return change


def _local(world: World) -> Changes:
    _, endpoints = _parted(world)

    def change(n: int) -> tuple[Change, ...]:
        one = endpoints[n % len(endpoints)]
        moved = replace(one, spec=replace(one.spec, node="node-x"))
        return Change(endpoints={one.key: moved}), Change(endpoints={one.key: one})

    return change


def _policy(world: World, policies: int) -> Changes:
    spaces = len(world.namespace_labels)

    def change(n: int) -> tuple[Change, ...]:
        which = n * 7 % policies
        old, new = fleet.policy_of(which, spaces), fleet.policy_of(which, spaces, port=8443)
        return Change(policies={old.key: (new,)}), Change(policies={old.key: (old,)})

    return change


def _of_all(port: int) -> Change:
    """One that selects every endpoint, with four rules."""
    selectors = [f'app == "app{n}" && env == "dev"' for n in range(4)]
    rules = tuple(
        model.Rule(
            action="Allow", index=i, section="ingress", protocol=6, source=model.Match(kinds=model.LABELLED, selector=parse(text)),
            destination=model.Match(ports=(port + i,)),
        )
        for i, text in enumerate(selectors)
    )  # fmt: skip
    policy = model.Policy(
        key=ObjectKey("GlobalNetworkPolicy", "", "", "all"), tier="default", order=10.0,
        subject=model.Match(kinds=model.WORKLOADS, selector=parse(f'{CLUSTER_LABEL} == "c1"')), ingress=rules,
    )  # fmt: skip
    return Change(policies={policy.key: (policy,)})


def _policy_of_all(n: int) -> tuple[Change, ...]:
    """The first call adds it, before the times of edits are of any weight."""
    return _of_all(9000), _of_all(9010)


def _added_for_all(n: int) -> tuple[Change, ...]:
    change = _of_all(9000)
    return Change(policies=dict.fromkeys(change.policies, ())), change


def _namespace(world: World) -> Changes:
    spaces = len(world.namespace_labels)

    def change(n: int) -> tuple[Change, ...]:
        key = ("c1", f"ns{n * 3 % spaces}")
        old = world.namespace_labels[key]
        new = {**old, "team": f"t{(n * 3 + 1) % 40}"}
        return Change(namespace_labels={key: new}), Change(namespace_labels={key: old})

    return change
