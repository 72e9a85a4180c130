"""Calico's HostEndpoints and Profiles, put into the world: which of a host's addresses which host endpoint governs.

An interface's own host endpoint comes before the one for all interfaces (`*`), which has what is left. Addresses that no host endpoint
lists go to the first, since nobody says which interface has them: rather closed than open.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from federation.doors import calico
from federation.doors.documents import without_services
from federation.policy import model
from federation.policy.world import Address, Host, World
from federation.resources.metadata import AnyResource

EVERY_INTERFACE = "*"
Hosts = dict[tuple[str, str], Host]


def governed(
    world: World, resources: Iterable[AnyResource], cluster: str = "", *, are_services_known: bool = False
) -> World:
    """The world with the HostEndpoints and Profiles that are among some resources. `cluster`: of host endpoints that name none."""
    by_kind: dict[str, list[AnyResource]] = {"HostEndpoint": [], "Profile": []}
    for resource in resources:
        by_kind.setdefault(resource.kind, []).append(resource)
    hosts = dict(world.hosts)
    faces = govern(hosts, by_kind["HostEndpoint"], cluster)
    found = {(r.metadata.cluster, r.metadata.name): r for r in by_kind["Profile"]}
    profiles = {place: profile_of(r) for place, r in found.items()}
    if not are_services_known:
        profiles = {place: closed for place, p in profiles.items() for closed in without_services((p,))}
    return replace(
        world,
        hosts=hosts,
        faces=faces,
        profiles=profiles,
        profile_labels={place: r.spec.labels_to_apply for place, r in found.items()},
    )


def govern(hosts: Hosts, endpoints: Iterable[AnyResource], cluster: str) -> tuple[Host, ...]:
    """Give each host the host endpoint of its first address; the result has, for every further one, the host as it is there.

    `cluster` is the one of host endpoints that name none.
    """
    by_host: dict[tuple[str, str], list[AnyResource]] = {}
    for resource in sorted(
        endpoints, key=lambda r: (r.spec.interface_name == EVERY_INTERFACE, r.metadata.name)
    ):
        place = (resource.metadata.cluster or cluster, resource.spec.node)
        by_host.setdefault(place, []).append(resource)
    faces: list[Host] = []
    for place, found in by_host.items():
        host = hosts.get(place) or Host(cluster=place[0], name=place[1])
        hosts[place], *more = _faces(host, found)
        faces += more
    return tuple(faces)


def _faces(host: Host, endpoints: list[AnyResource]) -> Iterator[Host]:
    """The host as each of its host endpoints has it, the one of its first address first."""
    listed = (address for each in endpoints for address in each.spec.expected_ips)
    addresses = tuple(dict.fromkeys((*host.addresses, *listed)))
    last = endpoints[-1]
    rest = last if last.spec.interface_name == EVERY_INTERFACE else endpoints[0]
    holder = {address: each for each in reversed(endpoints) for address in each.spec.expected_ips}
    first = holder.get(addresses[0], rest) if addresses else rest
    for each in (first, *(e for e in endpoints if e is not first)):
        held = tuple(address for address in addresses if holder.get(address, rest) is each)
        yield _face(host, each, held)


def _face(host: Host, endpoint: AnyResource, addresses: tuple[Address, ...]) -> Host:
    spec = endpoint.spec
    return replace(
        host,
        addresses=addresses,
        endpoint=endpoint.key,
        endpoint_labels=endpoint.metadata.labels,
        selectable=spec.expected_ips,
        ports=spec.ports,
        profiles=spec.profiles,
    )


def profile_of(resource: AnyResource) -> model.Policy:
    """A Profile's rules, which come after all tiers."""
    spec = resource.spec
    return model.Policy(
        key=resource.key,
        tier="profile",
        subject=model.Match(kinds=model.NOBODY),
        ingress=tuple(calico.rule_of(rule, n, "ingress", "") for n, rule in enumerate(spec.ingress)),
        egress=tuple(calico.rule_of(rule, n, "egress", "") for n, rule in enumerate(spec.egress)),
    )
