"""SPIFFE IDs: `spiffe://<trust domain>/cluster/<cluster>/node/<node>`, and `…/relay/<relay>`. Pure."""

import re

from federation.errors import InvalidInput, Unauthenticated

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
DEFAULT_DOMAIN = "causeway.internal"


def node_id(domain: str, cluster: str, node: str) -> str:
    """The ID of a node. Raises InvalidInput for names that would make another path of it."""
    return _id(domain, cluster, "node", node)


def relay_id(domain: str, cluster: str, relay: str) -> str:
    """The ID of a relay. Raises InvalidInput as `node_id` does."""
    return _id(domain, cluster, "relay", relay)


def node_of(text: str, domain: str) -> tuple[str, str]:
    """(cluster, node) of a node's ID. Raises Unauthenticated for any other, and for another trust domain's."""
    return _of(text, domain, "node")


def relay_of(text: str, domain: str) -> tuple[str, str]:
    """(cluster, relay) of a relay's ID. Raises Unauthenticated for any other, and for another trust domain's."""
    return _of(text, domain, "relay")


def is_relay(text: str) -> bool:
    """Whether an ID claims to be a relay's."""
    return "/relay/" in text


def _id(domain: str, cluster: str, role: str, holder: str) -> str:
    for name in (domain, cluster, holder):
        if not NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot stand in a certificate's identity")
    return f"spiffe://{domain}/cluster/{cluster}/{role}/{holder}"


def _of(text: str, domain: str, role: str) -> tuple[str, str]:
    match text.split("/"):
        case ["spiffe:", "", found, "cluster", cluster, said, holder] if (
            found == domain and said == role and NAME.fullmatch(cluster) and NAME.fullmatch(holder)
        ):
            return cluster, holder
    raise Unauthenticated(f"the certificate is of {text!r}, which is no {role} of the trust domain {domain}")
