"""Certificates, judged by openssl and by cryptography's verifier, not by who made them."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.verification import PolicyBuilder, Store

from controlplane.pki import x509
from federation.errors import InvalidInput

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
URI = "spiffe://causeway.internal/cluster/dc1/node/n1"


def request_of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    names = library.SubjectAlternativeName([library.DNSName("control.example")])
    subject = library.Name([library.NameAttribute(library.NameOID.COMMON_NAME, "root")])
    builder = library.CertificateSigningRequestBuilder().subject_name(subject)
    made = builder.add_extension(names, critical=False).sign(key, algorithm)
    return made.public_bytes(serialization.Encoding.PEM).decode()


class Chain:
    def __init__(self) -> None:
        self.root = x509.make_root("Test", NOW)
        self.issuer = x509.make_intermediate(self.root, "Test", "causeway.internal", NOW)
        self.request = request_of(ec.generate_private_key(ec.SECP256R1()))

    def node(self, request: str = "") -> str:
        life = timedelta(hours=12)
        return x509.sign_node(self.issuer, request or self.request, URI, "e1", NOW, life)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def openssl_says(folder: Path, chain: Chain, leaf: str, purpose: str, at: datetime = NOW) -> str:
    for name, text in (("root", chain.root.certificate), ("above", chain.issuer.certificate), ("leaf", leaf)):
        (folder / name).write_text(text)
    words = ["openssl", "verify", "-x509_strict", "-attime", str(int(at.timestamp())), "-purpose", purpose]
    done = subprocess.run([*words, "-CAfile", folder / "root", "-untrusted", folder / "above", folder / "leaf"], capture_output=True, text=True, check=False)  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519"])
def test_openssl_takes_a_nodes_chain_as_a_clients_and_as_nothing_else(
    chain: Chain, tmp_path: Path, kind: str
) -> None:
    key = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    leaf = chain.node(request_of(key))
    assert openssl_says(tmp_path, chain, leaf, "sslclient").endswith(": OK\n")
    assert "unsuitable certificate purpose" in openssl_says(tmp_path, chain, leaf, "sslserver")
    assert "expired" in openssl_says(tmp_path, chain, leaf, "sslclient", NOW + timedelta(hours=13))
    assert openssl_says(tmp_path, chain, leaf, "sslclient", NOW - timedelta(minutes=4)).endswith(": OK\n")


def test_openssl_takes_a_servers_chain_for_its_names(chain: Chain, tmp_path: Path) -> None:
    names = ("control.example", "192.0.2.1", "::1")
    leaf = x509.make_server(chain.issuer, names, "causeway.internal", NOW, timedelta(days=7))
    assert openssl_says(tmp_path, chain, leaf.certificate, "sslserver").endswith(": OK\n")
    text = subprocess.run(["openssl", "x509", "-in", tmp_path / "leaf", "-noout", "-ext", "subjectAltName"], capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert "DNS:control.example, IP Address:192.0.2.1, IP Address:0:0:0:0:0:0:0:1" in text


def test_the_verifier_of_cryptography_takes_the_chain_too(chain: Chain) -> None:
    roots = Store([x509.certificate_of(chain.root.certificate)])
    verifier = PolicyBuilder().store(roots).time(NOW).build_client_verifier()
    found = verifier.verify(
        x509.certificate_of(chain.node()), [x509.certificate_of(chain.issuer.certificate)]
    )
    assert found.subjects is not None
    assert [name.value for name in found.subjects] == [URI]


def test_nothing_of_a_request_but_its_key_gets_into_a_certificate(chain: Chain) -> None:
    leaf = x509.certificate_of(chain.node())
    assert b"control.example" not in leaf.public_bytes(serialization.Encoding.DER)
    assert "root" not in leaf.subject.rfc4514_string()
    assert x509.facts_of(chain.node()).uris == (URI,)
    assert x509.facts_of(chain.node()).key_hash == x509.request_key_hash(chain.request)
    assert x509.facts_of(chain.node()).serial != x509.facts_of(chain.node()).serial


def test_a_request_that_is_none_is_refused(chain: Chain) -> None:
    weak = request_of(rsa.generate_private_key(65537, 2048))
    body = chain.request.splitlines()
    middle = len(body) // 2
    flipped = body[middle][:-1] + ("A" if body[middle][-1] != "A" else "B")
    broken = "\n".join([*body[:middle], flipped, *body[middle + 1 :]])
    for text, said in ((weak, "none of ECDSA"), ("x", "PKCS #10"), ("", "PKCS #10"), (broken, "")):
        with pytest.raises(InvalidInput) as caught:
            x509.key_of_request(text)
        assert said in str(caught.value.faults)


def test_a_leaf_cannot_sign_and_an_intermediate_signs_no_intermediate(chain: Chain, tmp_path: Path) -> None:
    below = x509.make_intermediate(chain.issuer, "Below", "causeway.internal", NOW)
    leaf = x509.sign_node(below, chain.request, URI, "e1", NOW, timedelta(hours=1))
    (tmp_path / "more").write_text(below.certificate + chain.issuer.certificate)
    for name, text in (("root", chain.root.certificate), ("leaf", leaf)):
        (tmp_path / name).write_text(text)
    words = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-CAfile", tmp_path / "root"]
    done = subprocess.run([*words, "-untrusted", tmp_path / "more", tmp_path / "leaf"], capture_output=True, text=True, check=False)  # fmt: skip
    assert "path length constraint exceeded" in done.stderr


def test_an_authority_that_cannot_sign_for_us_is_refused_with_every_reason(chain: Chain) -> None:
    x509.check_issuer(chain.root.certificate, chain.issuer, NOW)
    other = Chain()
    with pytest.raises(InvalidInput) as caught:
        x509.check_issuer(other.root.certificate, x509.Made(chain.node(), other.issuer.key), NOW)
    said = {(fault.pointer, fault.message) for fault in caught.value.faults}
    assert ("/key", "does not belong to the intermediate's certificate") in said
    assert ("/certificate", "was not signed by the root") in said
    assert ("/certificate", "is no authority (basicConstraints)") in said
    with pytest.raises(InvalidInput):
        x509.check_issuer(chain.root.certificate, chain.issuer, NOW + timedelta(days=800))


def test_a_signature_tells_issuers_of_the_same_name_apart(chain: Chain) -> None:
    assert x509.is_issued_by(chain.node(), chain.issuer.certificate)
    assert not x509.is_issued_by(chain.node(), Chain().issuer.certificate)


def test_a_pin_finds_its_root_among_others(chain: Chain) -> None:
    bundle = Chain().root.certificate + chain.root.certificate
    pin = x509.pin_of(chain.root.certificate)
    assert x509.pinned(bundle, pin) == chain.root.certificate
    assert x509.pinned(bundle, "sha256:" + "0" * 64) == ""


def test_what_is_sealed_opens_for_its_secret_and_purpose_only() -> None:
    sealed = x509.seal(b"k" * 32, "a", "text")
    assert x509.unseal(b"k" * 32, "a", sealed) == "text"
    for secret, purpose in ((b"l" * 32, "a"), (b"k" * 32, "b")):
        with pytest.raises(InvalidInput):
            x509.unseal(secret, purpose, sealed)
    assert "text" not in repr(x509.Made("c", "text"))


def test_a_relays_certificate_is_a_clients_and_a_servers_of_its_names(chain: Chain, tmp_path: Path) -> None:
    said = ("spiffe://causeway.internal/cluster/dc1/relay/r1", ("relay.example", "192.0.2.7"))
    leaf = x509.sign_relay(chain.issuer, chain.request, said, "e1", NOW, timedelta(hours=12))
    for purpose in ("sslclient", "sslserver"):
        assert openssl_says(tmp_path, chain, leaf, purpose).endswith(": OK\n")
    names = x509.certificate_of(leaf).extensions.get_extension_for_class(library.SubjectAlternativeName).value
    assert names.get_values_for_type(library.DNSName) == ["relay.example"]
    assert [str(a) for a in names.get_values_for_type(library.IPAddress)] == ["192.0.2.7"]


def test_only_the_key_before_vouches_for_a_request() -> None:
    from nodeagent.control import csr

    old, other = csr.request(), csr.request()
    fresh = csr.renewal(old.key)
    key_hash = x509.request_key_hash(old.csr)
    assert fresh.key != old.key
    assert x509.is_vouched(fresh.csr, fresh.proof, key_hash)
    assert not x509.is_vouched(other.csr, fresh.proof, key_hash)
    assert not x509.is_vouched(fresh.csr, csr.renewal(other.key).proof, key_hash)
    assert not x509.is_vouched(fresh.csr, old.csr, key_hash)
