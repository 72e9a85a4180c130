"""A made-up fleet: at 1x 2,500 identities, 12,500 endpoints and 600 policies of 4 rules; one node with 110 of the endpoints, taken at
random, so that the node has as much to do at every size. A namespace's policies ask different things."""

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, IdentityNumber, security_labels
from federation.kinds.endpoint import Endpoint, EndpointSpec, EndpointStatus, NamedPort
from federation.policy import model
from federation.policy.tables import Direction
from federation.policy.world import LabelledNets, World
from federation.resources.metadata import Metadata, ObjectKey, Resource
from federation.selectors import parse

IDENTITIES, PER_IDENTITY, POLICIES, PER_SPACE = 2_500, 5, 600, 50
LOCAL = 110
HOME = "node-0"
BLOCKED = "blocked"
"""The network set's name, and what its role is."""
LARGE = 100_000
"""Prefixes of it, where it is large."""


def fleet(factor: int) -> World:
    """A world of that size."""
    return sized(IDENTITIES * factor, PER_IDENTITY, POLICIES * factor)


def sized(identities: int, per_identity: int, policies: int) -> World:
    """A world with so many of each."""
    spaces = max(identities // PER_SPACE, 1)
    count = identities * per_identity
    here = frozenset(random.Random(7).sample(range(count), LOCAL))
    endpoints = {}
    for n in range(count):
        one = endpoint_of(n % identities, n, HOME if n in here else f"node-{1 + n // LOCAL}", spaces)
        endpoints[one.key] = one
    return World(
        policies=tuple(policy_of(n, spaces) for n in range(policies)),
        identities={IdentityNumber(256 + n): labels_of(n, spaces) for n in range(identities)},
        endpoints=endpoints,
        namespace_labels={("c1", f"ns{n}"): {"team": f"t{n % 40}"} for n in range(spaces)},
        network_sets=(LabelledNets(labels={"role": BLOCKED}, nets=tuple(nets(1_000)), name=BLOCKED),),
    )


def nets(count: int) -> Iterator[IPv4Network]:
    """Prefixes outside of all endpoints' addresses, every hundredth with another inside."""
    for n in range(count):
        length = 24 if n % 100 == 0 else 32
        yield IPv4Network(
            ((172 << 24) + (n << 8 if length == 24 else (n - 1) * 256 + n % 200), length), strict=False
        )


def own_labels(n: int) -> dict[str, str]:
    """What identity n calls itself."""
    return {"app": f"app{n // 7 % PER_SPACE}", "tier": f"tier{n % 5}", "env": ("dev", "qa", "prod")[n % 3]}


def labels_of(n: int, spaces: int) -> dict[str, str]:
    """The security labels of identity n."""
    return security_labels("c1", f"ns{n % spaces}", "", {**own_labels(n), "id": str(n)})


def endpoint_of(identity: int, n: int, node: str, spaces: int) -> Endpoint:
    """The n-th endpoint, of an identity."""
    return Resource(
        kind="Endpoint",
        metadata=Metadata(
            name=f"e{n}", cluster="c1", namespace=f"ns{identity % spaces}", labels={**own_labels(identity), "id": str(identity)}
        ),
        spec=EndpointSpec(
            node=node, addresses=(IPv4Address((10 << 24) + n),), ports=(NamedPort(name="http", port=8000 + identity % 3, protocol="TCP"),)
        ),
        status=EndpointStatus(identity=256 + identity),
    )  # fmt: skip


def policy_of(n: int, spaces: int, port: int = 443) -> model.Policy:
    """The n-th policy: four rules by the labels of others, of their namespaces, by port names and by a network set."""
    space, turn = f"ns{n % spaces}", n // spaces
    here = f'{CLUSTER_LABEL} == "c1" && {NAMESPACE_LABEL} == "{space}"'
    whom = here if turn % 4 == 0 else f'{here} && app == "app{(n * 3 + turn) % PER_SPACE}"'
    peers = [
        f'{here} && tier == "tier{(n + turn) % 5}"',
        f'projectcalico.org/namespace/label/team == "t{(n + turn) % 40}" && env == "prod"',
        f'{NAMESPACE_LABEL} == "ns{(n * 7 + turn) % spaces}" && app in {{"app{n % PER_SPACE}", "app{(n + turn + 1) % PER_SPACE}"}}',
    ]
    rules = [
        model.Rule(
            action="Allow", index=i, section="ingress", protocol=6, source=model.Match(kinds=model.LABELLED, selector=parse(text)),
            destination=model.Match(ports=(port + i + turn,)),
        )
        for i, text in enumerate(peers)
    ]  # fmt: skip
    deny = model.Rule(
        action="Deny", index=3, section="ingress", source=model.Match(kinds=model.LABELLED, selector=parse(f'role == "{BLOCKED}"'))
    )  # fmt: skip
    return model.Policy(
        key=ObjectKey("NetworkPolicy", "c1", space, f"p{n}"), tier="default", order=1000.0,
        subject=model.Match(kinds=model.WORKLOADS, selector=parse(whom)), isolates=frozenset({Direction.INGRESS}), ingress=(deny, *rules),
    )  # fmt: skip
