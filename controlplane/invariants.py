"""What must hold between resources, checked in the transaction that would break it; and what the control plane allots."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from controlplane.access.actor import Actor
from controlplane.store.unit_of_work import UnitOfWork
from federation.doors.documents import (
    CALICO_KINDS,
    CILIUM_KINDS,
    POLICY_KINDS,
    policies_of,
    surroundings,
    without_services,
)
from federation.errors import Conflict, Forbidden, InvalidInput, NotFound, Overlap
from federation.identities import security_labels
from federation.kinds.cluster import ClusterStatus, is_waiting
from federation.kinds.identity import IdentitySpec
from federation.policy.conditions import enforceable, enforceable_host, enforceable_profile
from federation.policy.hosts import profile_of
from federation.policy.resolution import BUILT_IN
from federation.resources.metadata import AnyResource, Condition, Metadata, ObjectKey, Resource, Status


async def admit(work: UnitOfWork, resource: AnyResource) -> AnyResource:
    """The resource, completed with what the control plane allots. Raises Overlap, NotFound or InvalidInput."""
    check = ADMISSION.get(resource.kind)
    return await check(work, resource) if check else resource


async def dismiss(work: UnitOfWork, resource: AnyResource) -> None:
    """Let a resource go. Raises Conflict while others need it."""
    async for other in _dependents(work, resource):
        raise Conflict(f"{resource.key} is still needed by {other.key}", hint="delete or change that first")
    if resource.kind in ("Node", "Endpoint"):
        await work.claim(resource.key, ())
    if resource.kind == "Endpoint":
        await collect_identity(work, resource.status.identity, resource.key)
    if resource.kind == "HostEndpoint":
        await _settle_hosts(work, await _node_of(work, resource), gone=resource.key)


async def _dependents(work: UnitOfWork, resource: AnyResource) -> AsyncIterator[AnyResource]:
    """Every resource that names this one."""
    name, home = resource.metadata.name, resource.metadata.cluster
    for kind, is_naming in DEPENDENTS.get(resource.kind, {}).items():
        for other in await work.all_of(kind, holding=f'"{name}"'):
            if is_naming(other, name, home):
                yield other


async def _cluster(work: UnitOfWork, cluster: AnyResource) -> AnyResource:
    for other in await work.all_of("Cluster"):
        if other.key == cluster.key:
            continue
        for prefix in cluster.spec.prefixes:
            for taken in other.spec.prefixes:
                if prefix.version == taken.version and prefix.overlaps(taken):
                    raise Overlap(
                        f"Cluster {cluster.metadata.name}: prefix {prefix} overlaps {taken} of cluster {other.metadata.name}",
                        hint="clusters need prefixes of their own in this release",
                    )
    standing = await work.find(cluster.key)
    is_known = standing is not None and standing.spec.prefixes == cluster.spec.prefixes
    return cluster if is_known or not work.needs_approval else _waiting(work, cluster)


def _waiting(work: UnitOfWork, cluster: AnyResource) -> AnyResource:
    """A cluster that takes part once another person says so."""
    person = work.actor.person
    said = f"asked for by {person}; another person approves: causeway cluster approve {cluster.metadata.name}"
    condition = Condition(type="Approved", status="False", reason="Waits", message=said, since=work.now)
    return replace(cluster, status=ClusterStatus(asked_by=person, conditions=(condition,)))


def approved(cluster: AnyResource, actor: Actor, now: str) -> AnyResource:
    """A cluster that waited, let in. Raises Conflict when it does not wait, Forbidden for who asked for it."""
    if not is_waiting(cluster):
        raise Conflict(f"{cluster.key} does not wait for anybody")
    if actor.person == cluster.status.asked_by:
        raise Forbidden(
            f"{cluster.key} was asked for by {actor.person}", hint="another person has to approve it"
        )
    said = f"asked for by {cluster.status.asked_by}, approved by {actor.person}"
    condition = Condition(type="Approved", status="True", reason="SecondPerson", message=said, since=now)
    status = replace(cluster.status, approved_by=actor.person, conditions=(condition,))
    return replace(cluster, status=status)


def must_be_approved(cluster: AnyResource) -> None:
    """Raises Conflict for a cluster that waits for a second person."""
    if is_waiting(cluster):
        name = cluster.metadata.name
        raise Conflict(
            f"Cluster {name} waits for a second person: {cluster.status.asked_by} asked for it",
            hint=f"somebody else runs: causeway cluster approve {name}",
        )


async def _node(work: UnitOfWork, node: AnyResource) -> AnyResource:
    cluster = await _needed(work, ObjectKey("Cluster", "", "", node.metadata.cluster), node)
    if await work.find(node.key) is None:
        must_be_approved(cluster)
    for prefix in node.spec.pod_prefixes:
        if not any(prefix.version == p.version and prefix.subnet_of(p) for p in cluster.spec.prefixes):
            raise InvalidInput(
                f"{node.key}: pod prefix {prefix} is outside its cluster's {_join(cluster.spec.prefixes)}"
            )
        for other in await work.all_of("Node", node.metadata.cluster):
            if other.key != node.key and any(
                prefix.version == p.version and prefix.overlaps(p) for p in other.spec.pod_prefixes
            ):
                raise Overlap(f"{node.key}: pod prefix {prefix} overlaps one of {other.key}")
    await _settle_hosts(work, node)
    return node


async def _endpoint(work: UnitOfWork, endpoint: AnyResource) -> AnyResource:
    meta, spec = endpoint.metadata, endpoint.spec
    cluster = await _needed(work, ObjectKey("Cluster", "", "", meta.cluster), endpoint)
    await _needed(work, ObjectKey("Node", meta.cluster, "", spec.node), endpoint)
    for address in spec.addresses:
        if not any(ip_network(address).version == p.version and address in p for p in cluster.spec.prefixes):
            raise InvalidInput(
                f"{endpoint.key}: address {address} is outside its cluster's {_join(cluster.spec.prefixes)}"
            )
    await work.claim(endpoint.key, spec.addresses)
    labels = security_labels(meta.cluster, meta.namespace, spec.service_account, meta.labels)
    number, is_new = await work.identity_of(labels)
    if is_new:
        identity: AnyResource = Resource(
            kind="Identity",
            metadata=Metadata(name=str(number), created=work.now, generation=1),
            spec=IdentitySpec(number=number, labels=labels),
            status=Status(),
        )
        await work.write(identity)
    if endpoint.status.identity not in (0, number):
        await collect_identity(work, endpoint.status.identity, endpoint.key)
    return replace(endpoint, status=replace(endpoint.status, identity=number))


async def collect_identity(work: UnitOfWork, number: int, leaving: ObjectKey) -> None:
    """Drop an identity when the endpoint that leaves it was its last."""
    for endpoint in await work.all_of("Endpoint", holding=f'"identity":{number}'):
        if endpoint.key != leaving and endpoint.status.identity == number:
            return
    await work.forget_identity(number)
    await work.remove(ObjectKey("Identity", "", "", str(number)))


async def _policy(work: UnitOfWork, policy: AnyResource) -> AnyResource:
    """The tier that it names must be there; what of it nodes carry out is said in its conditions."""
    if policy.kind in CALICO_KINDS and policy.spec.tier not in BUILT_IN:
        await _needed(work, ObjectKey("Tier", "", "", policy.spec.tier), policy)
    if policy.metadata.cluster:
        await _needed(work, ObjectKey("Cluster", "", "", policy.metadata.cluster), policy)
    groups = await work.all_of("CiliumCIDRGroup") if policy.kind in CILIUM_KINDS else []
    found = enforceable(without_services(policies_of(policy, surroundings(groups, policy.metadata.cluster))))
    return _with_condition(work, policy, found)


def _with_condition(work: UnitOfWork, resource: AnyResource, found: Condition) -> AnyResource:
    """The resource with its one condition, which keeps its time while it says the same."""
    known = next((c for c in resource.status.conditions if c.type == found.type), None)
    is_same = known is not None and replace(known, since="") == found
    condition = replace(found, since=known.since if known and is_same else work.now)
    return replace(resource, status=replace(resource.status, conditions=(condition,)))


async def _host_endpoint(work: UnitOfWork, resource: AnyResource) -> AnyResource:
    """Its node must be there, and the addresses that it expects nobody else's."""
    await _needed(work, ObjectKey("Cluster", "", "", resource.metadata.cluster), resource)
    node, standing = await _node_of(work, resource), await work.find(resource.key)
    if standing is not None and standing.spec.node != resource.spec.node:
        await _settle_hosts(work, await _node_of(work, standing), gone=resource.key)
    await _settle_hosts(work, node, wanted=resource)
    return _with_condition(work, resource, enforceable_host())


async def _node_of(work: UnitOfWork, host_endpoint: AnyResource) -> AnyResource:
    key = ObjectKey("Node", host_endpoint.metadata.cluster, "", host_endpoint.spec.node)
    return await _needed(work, key, host_endpoint)


async def _settle_hosts(
    work: UnitOfWork, node: AnyResource, *, wanted: AnyResource | None = None, gone: ObjectKey | None = None
) -> None:
    """Claim a node's addresses, and for its host endpoints (`wanted` is new or changed) what they expect beyond: each for the first
    that does, since several may expect one. Raises Overlap."""
    listed = {r.key: r for r in await work.all_of("HostEndpoint", node.metadata.cluster)}
    if wanted is not None:
        listed[wanted.key] = wanted
        await work.claim(wanted.key, ())
    own = [r for key, r in sorted(listed.items()) if r.spec.node == node.metadata.name]
    for each in own:
        await work.claim(each.key, ())
    await work.claim(node.key, node.spec.addresses)
    taken = set(node.spec.addresses)
    for each in own:
        if each.key != gone:
            await work.claim(each.key, [a for a in dict.fromkeys(each.spec.expected_ips) if a not in taken])
            taken.update(each.spec.expected_ips)


async def _profile(work: UnitOfWork, profile: AnyResource) -> AnyResource:
    await _of_cluster(work, profile)
    (policy,) = without_services((profile_of(profile),))
    return _with_condition(work, profile, enforceable_profile(policy))


async def _of_cluster(work: UnitOfWork, resource: AnyResource) -> AnyResource:
    if resource.metadata.cluster:
        await _needed(work, ObjectKey("Cluster", "", "", resource.metadata.cluster), resource)
    return resource


async def _link(work: UnitOfWork, link: AnyResource) -> AnyResource:
    for name in link.spec.clusters:
        must_be_approved(await _needed(work, ObjectKey("Cluster", "", "", name), link))
    return link


async def _needed(work: UnitOfWork, key: ObjectKey, by: AnyResource) -> AnyResource:
    found = await work.find(key)
    if found is None:
        raise NotFound(
            f"{by.key} names {key}, which does not exist",
            hint=f"create the {key.kind} first, or in the same apply",
        )
    return found


def _join(values: Any) -> str:
    return ", ".join(map(str, values))


PLACES = ("Namespace", "ServiceAccount", "CiliumCIDRGroup", "NetworkSet")
HOSTS = ("HostEndpoint", "Profile", "Relay")
"""What may be of one cluster, besides policies, nodes and endpoints."""
DEPENDENTS: dict[str, dict[str, Callable[[AnyResource, str, str], bool]]] = {
    "Cluster": {
        "Node": lambda other, name, _: other.metadata.cluster == name,
        "Endpoint": lambda other, name, _: other.metadata.cluster == name,
        "Link": lambda other, name, _: name in other.spec.clusters,
        **dict.fromkeys(
            (*POLICY_KINDS, *PLACES, *HOSTS), lambda other, name, _: other.metadata.cluster == name
        ),
    },
    "Tier": {kind: lambda other, name, _: other.spec.tier == name for kind in CALICO_KINDS},
    "Node": dict.fromkeys(
        ("Endpoint", "HostEndpoint"),
        lambda other, name, home: (other.metadata.cluster, other.spec.node) == (home, name),
    ),
}
"""By kind, who may name it, and how to see that."""

ADMISSION: dict[str, Callable[[UnitOfWork, AnyResource], Awaitable[AnyResource]]] = {
    "Cluster": _cluster,
    "Node": _node,
    "Endpoint": _endpoint,
    "Link": _link,
    **dict.fromkeys(POLICY_KINDS, _policy),
    **dict.fromkeys(PLACES, _of_cluster),
    "HostEndpoint": _host_endpoint,
    "Profile": _profile,
    "Relay": _of_cluster,
}
