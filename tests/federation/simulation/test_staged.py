"""Staged policies judge nothing, and are judged apart when somebody asks what would be."""

from typing import Any

import pytest

from federation.errors import InvalidInput
from federation.simulation.probes import Judge
from tests.federation.simulation.conftest import judged

PROBE = {"from": "x/b", "to": "x/a", "port": 80}


def staged(spec: str, kind: str = "StagedGlobalNetworkPolicy", meta: str = "name: p") -> str:
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{{meta}}}, spec: {spec}}}"


def answer(*texts: str) -> tuple[str, dict[str, Any]]:
    found = Judge(judged(*texts).simulation, has_staged=True).answer(PROBE)
    return found["verdict"], found["staged"]


DENY = "{selector: all(), ingress: []}"
ENFORCED = staged(DENY, "GlobalNetworkPolicy")


def test_a_staged_policy_is_set_beside_what_is_enforced() -> None:
    verdict, would = answer(staged(DENY))
    assert (verdict, would["verdict"]) == ("Allow", "Deny")
    assert would["ingress"]["tier"] == "default"


def test_it_takes_the_place_of_the_policy_of_its_name() -> None:
    allow = "{selector: all(), ingress: [{action: Allow}]}"
    verdict, would = answer(ENFORCED, staged(allow))
    assert (verdict, would["verdict"]) == ("Deny", "Allow")
    assert would["ingress"]["policy"]["kind"] == "StagedGlobalNetworkPolicy"
    assert answer(ENFORCED, staged(allow, meta="name: other"))[1]["verdict"] == "Allow"
    assert (
        answer(
            ENFORCED, staged("{selector: all(), ingress: [{action: Allow}], order: 5}", meta="name: other")
        )[1]["verdict"]
        == "Allow"
    )


@pytest.mark.parametrize(("action", "verdict"), [("Delete", "Allow"), ("Learn", "Deny"), ("Ignore", "Deny")])
def test_delete_takes_it_away_and_learn_and_ignore_do_nothing(action: str, verdict: str) -> None:
    found = answer(ENFORCED, staged(f"{{stagedAction: {action}}}"))
    assert (found[0], found[1]["verdict"]) == ("Deny", verdict)


def test_a_staged_delete_says_nothing_else() -> None:
    with pytest.raises(InvalidInput, match="1 fault"):
        judged(staged("{stagedAction: Delete, selector: all()}"))


def test_a_staged_policy_of_kubernetes_kind() -> None:
    text = staged(
        "{podSelector: {matchLabels: {pod: a}}}", "StagedKubernetesNetworkPolicy", "name: k, namespace: x"
    )
    verdict, would = answer(text)
    assert (verdict, would["verdict"]) == ("Allow", "Deny")
    own = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: k, namespace: x}, spec: {podSelector: {}}}"
    gone = staged("{stagedAction: Delete}", "StagedKubernetesNetworkPolicy", "name: k, namespace: x")
    found = answer(own, gone)
    assert (found[0], found[1]["verdict"]) == ("Deny", "Allow")


def test_a_staged_network_policy_leaves_one_of_another_namespace() -> None:
    own = staged("{ingress: []}", "NetworkPolicy", "name: p, namespace: x")
    gone = staged("{stagedAction: Delete}", "StagedNetworkPolicy", "name: p, namespace: y")
    assert answer(own, gone)[1]["verdict"] == "Deny"
