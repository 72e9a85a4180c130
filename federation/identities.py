"""Identities: 24-bit numbers for sets of security labels, the same number in every cluster."""

from collections.abc import Mapping
from typing import NewType

IdentityNumber = NewType("IdentityNumber", int)

UNKNOWN = IdentityNumber(0)
HOST = IdentityNumber(1)
"""This node itself: its traffic to its own workloads is always allowed (as kubelet's probes need)."""
WORLD = IdentityNumber(2)
"""Any address that is no endpoint's and no node's."""
REMOTE_NODE = IdentityNumber(3)
FIRST_ALLOCATED = 256
LAST_ALLOCATED = (1 << 24) - 1
NODE_LOCAL_BIT = 1 << 24
"""Numbers with this bit are of one node only."""

CLUSTER_LABEL = "causeway.dev/cluster"
NAMESPACE_LABEL = "projectcalico.org/namespace"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"


def security_labels(
    cluster: str, namespace: str, service_account: str, labels: Mapping[str, str]
) -> dict[str, str]:
    """The set of labels that an endpoint's identity stands for. What the system says wins over what the user wrote, so
    that no workload can label itself into another cluster, namespace or service account."""
    system = {CLUSTER_LABEL: cluster, NAMESPACE_LABEL: namespace}
    if service_account:
        system[SERVICE_ACCOUNT_LABEL] = service_account
    own = {key: value for key, value in labels.items() if key != SERVICE_ACCOUNT_LABEL}
    return dict(sorted((own | system).items()))
