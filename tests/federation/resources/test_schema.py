"""Schemas and the codec agree: what one refuses for its shape, the other does."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from federation.errors import InvalidInput
from federation.kinds.registry import KINDS, kind_of
from federation.resources.codec import decode, encode
from federation.resources.schema import kind_schema

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def is_valid(document: Any) -> bool:
    return bool(Draft202012Validator(kind_schema(kind_of(document))).is_valid(document))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_schema_is_a_schema(kind: Any) -> None:
    Draft202012Validator.check_schema(kind_schema(kind))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_and_what_is_made_of_them_are_valid(path: Path) -> None:
    documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
    assert documents
    for document in documents:
        assert is_valid(document)
        assert is_valid(encode(decode(document)))


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"}, {"spec": {"colour": "red"}}, {"spec": {"order": "first"}}, {"metadata": {"name": 7}}, {"spec": {"ingress": {}}},
        {"spec": {"ingress": [{}]}}, {"spec": {"ingress": [{"action": "Allow", "source": {"nets": "10.0.0.0/8"}}]}}, {"metadata": None},
    ],
)  # fmt: skip
def test_what_is_of_the_wrong_shape_is_refused_by_both(change: dict[str, Any]) -> None:
    document = {
        "apiVersion": "causeway.dev/v1",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {},
    }
    assert is_valid(document)
    decode(document)
    document |= change
    assert not is_valid(document)
    with pytest.raises(InvalidInput):
        decode(document)
