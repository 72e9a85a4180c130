"""RoleBinding and Project: what is refused, and where."""

from typing import Any

import pytest

from federation.errors import InvalidInput
from federation.resources.codec import decode, encode

SOMEBODY = [{"kind": "User", "name": "ann@example.com"}]


def binding(**spec: Any) -> dict[str, Any]:
    whole = {"role": "viewer", "subjects": SOMEBODY, **spec}
    return {"apiVersion": "causeway.dev/v1", "kind": "RoleBinding", "metadata": {"name": "b"}, "spec": whole}


def project(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": "Project", "metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (binding(role="root"), "/spec/role"),
        (binding(subjects=[]), "/spec/subjects"),
        (binding(subjects=[{"kind": "Robot", "name": "r"}]), "/spec/subjects/0/kind"),
        (binding(subjects=[{"kind": "User", "name": ""}]), "/spec/subjects/0/name"),
        (binding(subjects=[{"kind": "User", "name": "a\nb"}]), "/spec/subjects/0/name"),
        (binding(clusters=[]), "/spec/clusters"),
        (binding(namespaces=["NO"]), "/spec/namespaces/0"),
        (binding(projects=["p"], clusters=["dc1"]), "/spec/projects"),
        (binding(tiers=["security"]), "/spec/tiers"),
        (project(), "/spec"),
        (project(clusters=[]), "/spec/clusters"),
        (project(namespaces=["*"]), "/spec/namespaces/0"),
    ],
)
def test_a_document_that_bounds_to_nothing_or_names_nobody_is_refused(
    document: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(document)
    assert pointer in [fault.pointer for fault in caught.value.faults]


@pytest.mark.parametrize(
    "document",
    [
        binding(),
        binding(role="policy-admin", tiers=["security"], clusters=["dc1"]),
        binding(projects=["p"]),
        project(clusters=["dc1"], namespaces=["shop"]),
    ],
)
def test_what_is_left_out_stays_left_out(document: dict[str, Any]) -> None:
    told = encode(decode(document))["spec"]
    assert {name for name in told if told[name] is not None} == set(document["spec"])
    assert decode(encode(decode(document))) == decode(document)
