"""All worlds' policies in one world, whose order is what counts: tiers, orders, phases, ties, and the own host."""

from hypothesis import given
from hypothesis import strategies as st

from tests.federation.reference import test_calico, test_cilium, test_kubernetes
from tests.federation.reference.comparing import WORLDS, disagreement
from tests.federation.reference.grounds import Document, document, grounds, picks

TIERS = [
    document("projectcalico.org/v3", "Tier", "first", {"order": 1000, "defaultAction": "Pass"}),
    document("projectcalico.org/v3", "Tier", "passing", {"order": 1000000, "defaultAction": "Pass"}),
]
"""Each at the order of a tier that is always there: ties go by name."""


@st.composite
def worlds(draw: st.DrawFn) -> list[Document]:
    kinds = [
        test_calico.policies(),
        test_kubernetes.network_policies(),
        test_kubernetes.admin_policies(draw(st.integers(0, 3)), "ClusterNetworkPolicy"),
        test_cilium.policies(draw(st.integers(0, 3))),
    ]
    found = test_calico.named([draw(draw(picks(kinds))) for _ in range(draw(st.integers(2, 5)))])
    for each in found:  # more of one tier, and of the order at which the worlds meet
        if each["apiVersion"] == "projectcalico.org/v3" and draw(st.booleans()):
            each["spec"] |= {
                "tier": draw(picks(["default", "kube-admin", "kube-baseline"])),
                "order": draw(picks([0, 1, 1000])),
            }
    return [*draw(grounds()), test_cilium.GROUP, *TIERS, *found]


@WORLDS
@given(documents=worlds())
def test_where_the_worlds_meet_they_mean_what_the_reference_says(documents: list[Document]) -> None:
    assert disagreement(documents) == ""
