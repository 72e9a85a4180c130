"""What a node shows and trusts: nothing that it is sent can take the good one from it."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.pki import x509
from federation.errors import InvalidInput
from nodeagent.control import csr, identity

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def given() -> tuple[str, dict[str, str]]:
    """A key, and what a control plane answers for it."""
    root = x509.make_root("r", NOW)
    issuer = x509.make_intermediate(root, "i", "causeway.internal", NOW)
    asked = csr.request()
    leaf = x509.sign_node(issuer, asked.csr, "spiffe://causeway.internal/cluster/c/node/n", "e", NOW, timedelta(hours=1))  # fmt: skip
    times = {"issued": NOW.isoformat(), "notAfter": (NOW + timedelta(hours=1)).isoformat()}
    chain = leaf + issuer.certificate
    return asked.key, {"serial": "1", "issuer": "a", **times, "certificate": chain, "bundle": root.certificate}  # fmt: skip


def test_what_was_given_is_kept_for_its_owner_alone(tmp_path: Path, given: Any) -> None:
    key, answer = given
    kept = identity.save(tmp_path, key, answer)
    assert identity.load(tmp_path) == kept
    assert (tmp_path / "identity.pem").stat().st_mode & 0o777 == 0o600
    assert isinstance(identity.context(tmp_path), ssl.SSLContext)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ca.pem", "identity.pem"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"certificate": ""},
        {"certificate": "x"},
        {"certificate": "\ud800"},
        {"certificate": None},
        {"bundle": ""},
        {"bundle": "\u00e9"},
        {"bundle": "\x00"},
        {"bundle": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        {"issued": "2026-01-01T00:00:00"},
        {"notAfter": "soon"},
        {"notAfter": 5},
    ],
    ids=str,
)
def test_an_answer_that_is_none_leaves_what_was_good(
    tmp_path: Path, given: Any, wrong: dict[str, Any]
) -> None:
    key, answer = given
    kept = identity.save(tmp_path, key, answer)
    before = (tmp_path / "identity.pem").read_bytes(), (tmp_path / "ca.pem").read_bytes()
    with pytest.raises(InvalidInput):
        identity.save(tmp_path, key, {**answer, **wrong})
    assert before == ((tmp_path / "identity.pem").read_bytes(), (tmp_path / "ca.pem").read_bytes())
    assert identity.load(tmp_path) == kept
    identity.context(tmp_path)


def test_a_certificate_for_another_key_is_not_kept(tmp_path: Path, given: Any) -> None:
    key, answer = given
    identity.save(tmp_path, key, answer)
    with pytest.raises(InvalidInput, match="does not belong to the key"):
        identity.save(tmp_path, csr.request().key, answer)
    identity.context(tmp_path)
