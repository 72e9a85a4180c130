"""SPIFFE IDs of nodes: `spiffe://<trust domain>/cluster/<cluster>/node/<node>`. Pure."""

import re

from federation.errors import InvalidInput, Unauthenticated

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
DEFAULT_DOMAIN = "causeway.internal"


def node_id(domain: str, cluster: str, node: str) -> str:
    """The ID of a node. Raises InvalidInput for names that would make another path of it."""
    for name in (domain, cluster, node):
        if not NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot stand in a certificate's identity")
    return f"spiffe://{domain}/cluster/{cluster}/node/{node}"


def node_of(text: str, domain: str) -> tuple[str, str]:
    """(cluster, node) of an ID. Raises Unauthenticated for any other, and for another trust domain's."""
    match text.split("/"):
        case ["spiffe:", "", found, "cluster", cluster, "node", node] if (
            found == domain and NAME.fullmatch(cluster) and NAME.fullmatch(node)
        ):
            return cluster, node
    raise Unauthenticated(f"the certificate is of {text!r}, which is no node of the trust domain {domain}")
