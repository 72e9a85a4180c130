"""What the agents of a cluster may see. Pure.

An agent learns of its own cluster and of those that a link connects it with; of policies only what can select an endpoint of its own cluster: what
others enforce is not its business.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from federation.doors.documents import NOTHING_AROUND, POLICY_KINDS, STAGED_KINDS, policies_of
from federation.errors import CausewayError
from federation.identities import CLUSTER_LABEL
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey
from federation.selectors import Selector
from federation.selectors.partial import may_match

HIDDEN_KINDS = frozenset({*STAGED_KINDS, "Relay", "RoleBinding", "Project"})
"""Who may do what, and who relays, is no agent's business."""
OF_CLUSTERS = frozenset(
    {"Cluster", "Node", "Endpoint", "NetworkSet", "Namespace", "ServiceAccount", "CiliumCIDRGroup", "HostEndpoint", "Profile"}
)  # fmt: skip
"""Kinds that are of a cluster, where they name one; those that name none are everybody's."""
POLICIES = frozenset(POLICY_KINDS) - HIDDEN_KINDS
MOVING = POLICIES | {"Link"}
"""Kinds of which a change may take an object out of sight, or into it."""
Subjects = tuple[Selector | None, ...]
"""Selectors of what a policy polices; None: whatever there is."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Of the agents of one cluster, and of clusters that it is linked with (itself among them)."""

    cluster: str
    clusters: frozenset[str]
    is_whole: bool = False
    """All that is there was chosen for them already: of a relay's agents."""

    def sees(self, key: ObjectKey, document: dict[str, Any] | None, subjects: Subjects) -> bool:
        """Whether such an object is shown. That one is gone (`document` None) is shown to whoever may have seen it."""
        if self.is_whole:
            return True
        if key.kind in HIDDEN_KINDS:
            return False
        if key.kind in POLICIES:
            return key.cluster in ("", self.cluster) and (document is None or self._is_policed(subjects))
        if key.kind == "Link":
            return document is None or self.cluster in document["spec"]["clusters"]
        if key.kind == "Identity":
            home = document["spec"]["labels"].get(CLUSTER_LABEL, "") if document else ""
            return not home or home in self.clusters
        return self.is_near(key)

    def is_near(self, key: ObjectKey) -> bool:
        """Whether an object of a cluster is of one of these; one of none is."""
        home = home_of(key)
        return not home or home in self.clusters

    def _is_policed(self, subjects: Subjects) -> bool:
        known = {CLUSTER_LABEL: self.cluster}
        return any(subject is None or may_match(subject.node, known) for subject in subjects)


def home_of(key: ObjectKey) -> str:
    """The cluster that an object is of; empty: none."""
    if key.kind == "Cluster":
        return key.name
    return key.cluster if key.kind in OF_CLUSTERS else ""


def subjects_of(key: ObjectKey, document: dict[str, Any] | None) -> Subjects:
    """Whom a policy may police: what cannot be read may police anybody."""
    if document is None or key.kind not in POLICIES:
        return ()
    try:
        policies = policies_of(decode(document, is_trusted=True), NOTHING_AROUND)
    except (CausewayError, KeyError, TypeError, ValueError):
        return (None,)
    return tuple(policy.subject.selector for policy in policies)


def linked_with(cluster: str, links: Iterable[tuple[str, ...]]) -> frozenset[str]:
    """A cluster and those that links connect it with."""
    return frozenset({cluster}.union(*(set(pair) for pair in links if cluster in pair)))
