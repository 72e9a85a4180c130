"""The one door to `cryptography`: certificates by RFC 5280, requests by RFC 2986, private keys that are kept sealed.

Every key is ECDSA P-256, which openssl, Go and Windows all take. A root signs intermediates only (pathLen 1), an intermediate signs servers and
nodes only (pathLen 0, extended key usage). Texts are PEM.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.errors import Fault, InvalidInput

ROOT_LIFE, INTERMEDIATE_LIFE = timedelta(days=3650), timedelta(days=730)
BACKDATED = timedelta(minutes=5)
"""NotBefore lies so far back: clocks differ."""
SECRET_BYTES = 32
NodeKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
MOST_SHOWN = 64 << 10
"""Characters of what anybody may show: a request, or a certificate with what stands above it."""
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion, x509.DuplicateExtension, x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What `cryptography` raises for texts that are no certificates or requests; much of one is read when it is asked for only."""
ISSUER_USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate and its private key, which no text form of this object shows."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Made(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a leaf says."""

    serial: str
    """Hexadecimal."""
    uris: tuple[str, ...]
    enrolment: str
    """Subject's serialNumber: which enrolment of the node it belongs to; empty: none."""
    not_before: datetime
    not_after: datetime
    authority_key: str
    """Key identifier of its issuer, hexadecimal."""
    key_hash: str
    """SHA-256 of its public key (SubjectPublicKeyInfo), hexadecimal."""


def make_root(name: str, now: datetime) -> Made:
    """A root of ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(f"{name} root")
    builder = _begun(subject, subject, key.public_key(), now, ROOT_LIFE)
    builder = _as_authority(builder, 1)
    builder = _with_identifiers(builder, key.public_key(), key.public_key())
    return Made(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def make_intermediate(root: Made, name: str, domain: str, now: datetime) -> Made:
    """An intermediate of two years, and never longer than its root. Raises InvalidInput for a root that cannot sign."""
    above, above_key = certificate_of(root.certificate), _key_of(root.key)
    if above_key.public_key() != above.public_key():
        raise InvalidInput("the root's key does not belong to the root's certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _begun(_named(f"{name} intermediate"), above.subject, key.public_key(), now, INTERMEDIATE_LIFE, above.not_valid_after_utc)  # fmt: skip
    builder = _as_authority(builder, 0).add_extension(x509.ExtendedKeyUsage(ISSUER_USES), critical=False)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")]), critical=False
    )
    builder = _with_identifiers(builder, key.public_key(), above_key.public_key())
    return Made(_pem(builder.sign(above_key, hashes.SHA256())), _key_pem(key))


def sign_node(issuer: Made, request: str, uri: str, enrolment: str, now: datetime, life: timedelta) -> str:
    """A node's certificate for a request's key; nothing else of the request is taken. Raises InvalidInput."""
    return _pem(_leaf(issuer, key_of_request(request), [x509.UniformResourceIdentifier(uri)], enrolment, now, life))  # fmt: skip


def sign_relay(issuer: Made, request: str, said: tuple[str, Sequence[str]], enrolment: str, now: datetime, life: timedelta) -> str:  # fmt: skip
    """A relay's certificate, which it serves with and shows. `said`: its URI, and the names and addresses that it is asked by. Raises InvalidInput."""
    uri, names = said
    listed = [x509.UniformResourceIdentifier(uri), *map(_general_name, names)]
    return _pem(_leaf(issuer, key_of_request(request), listed, enrolment, now, life, ISSUER_USES))


def make_server(issuer: Made, names: Sequence[str], domain: str, now: datetime, life: timedelta) -> Made:
    """A server's certificate for names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    said: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"spiffe://{domain}/server")]
    said += map(_general_name, names)
    uses = (ExtendedKeyUsageOID.SERVER_AUTH,)
    return Made(_pem(_leaf(issuer, key.public_key(), said, "", now, life, uses)), _key_pem(key))


def key_of_request(text: str) -> NodeKey:
    """The public key of a signing request that its own key has signed. Raises InvalidInput."""
    if len(text) > MOST_SHOWN:
        raise _unfit(f"it is longer than {MOST_SHOWN} characters")
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key, is_signed = request.public_key(), request.is_signature_valid
    except UNREADABLE as error:
        raise _unfit(f"not a request of PKCS #10 in PEM: {error}") from error
    if not is_signed:
        raise _unfit("its signature is not by its own key")
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    raise _unfit("its key is none of ECDSA P-256, P-384, Ed25519")


def facts_of(text: str) -> Facts:
    """What a leaf in PEM says (of several, the first). Raises InvalidInput."""
    if len(text) > MOST_SHOWN:
        raise InvalidInput(f"the certificate is longer than {MOST_SHOWN} characters")
    found = certificate_of(text)
    try:
        return _facts(found)
    except UNREADABLE as error:
        raise InvalidInput(f"the certificate says no identity: {error}") from error


def _facts(found: x509.Certificate) -> Facts:
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    above = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    enrolments = found.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    return Facts(
        serial=f"{found.serial_number:x}",
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        enrolment=str(enrolments[0].value) if enrolments else "",
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        authority_key=(above or b"").hex(),
        key_hash=_key_hash(found.public_key()),
    )


def request_key_hash(text: str) -> str:
    """SHA-256 of a request's public key, as in `Facts`. Raises InvalidInput."""
    return _key_hash(key_of_request(text))


def is_vouched(request: str, proof: str, key_hash: str) -> bool:
    """Whether a key vouches for another one's request: it has signed a request that names the digest of that one. Raises InvalidInput."""
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hashlib.sha256(request.encode()).hexdigest())])
    return request_key_hash(proof) == key_hash and x509.load_pem_x509_csr(proof.encode()).subject == named


def is_issued_by(leaf: str, issuer: str) -> bool:
    """Whether the issuer's key has signed a certificate. Times are not looked at."""
    try:
        certificate_of(leaf).verify_directly_issued_by(certificate_of(issuer))
    except UNREADABLE:
        return False
    return True


def check_issuer(root: str, issuer: Made, now: datetime) -> None:
    """That an intermediate can sign for us: its key is its own, the root has signed it, it may sign leaves, and it is valid now. Raises
    InvalidInput with every fault."""
    above, found = certificate_of(root), certificate_of(issuer.certificate)
    wrong = []
    if _key_of(issuer.key).public_key() != found.public_key():
        wrong.append(Fault("/key", "does not belong to the intermediate's certificate"))
    if not is_issued_by(issuer.certificate, root):
        wrong.append(Fault("/certificate", "was not signed by the root"))
    for where, one in (("/root", above), ("/certificate", found)):
        wrong += [Fault(where, said) for said in _lacks_of_authority(one, now)]
    if wrong:
        raise InvalidInput("this authority cannot be used", faults=wrong)


def certificate_of(text: str) -> x509.Certificate:
    """The first certificate of a PEM text. Raises InvalidInput."""
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except UNREADABLE as error:
        raise InvalidInput(f"not a certificate in PEM: {error}") from error


def key_identifier(text: str) -> str:
    """A certificate's subject key identifier, hexadecimal, as its leaves name it. Raises InvalidInput."""
    try:
        found = certificate_of(text).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound as error:
        raise InvalidInput("the certificate has no subject key identifier") from error
    return found.digest.hex()


def expiry_of(text: str) -> datetime:
    """When a certificate ends. Raises InvalidInput."""
    return certificate_of(text).not_valid_after_utc


def pin_of(text: str) -> str:
    """`sha256:…` of a certificate's public key: what who joins is given. Raises InvalidInput."""
    return f"sha256:{_key_hash(certificate_of(text).public_key())}"


def pins_of(bundle: str) -> tuple[str, ...]:
    """The pins of all certificates of a bundle. Raises InvalidInput."""
    return tuple(pin for pin, _ in _pinnable(bundle))


def pinned(bundle: str, pin: str) -> str:
    """The certificate of a bundle that has this pin; empty: none. Raises InvalidInput."""
    return next((_pem(one) for found, one in _pinnable(bundle) if found == pin), "")


def _pinnable(bundle: str) -> list[tuple[str, x509.Certificate]]:
    try:
        several = x509.load_pem_x509_certificates(bundle.encode())
    except UNREADABLE as error:
        raise InvalidInput(f"not certificates in PEM: {error}") from error
    return [(f"sha256:{_key_hash(one.public_key())}", one) for one in several]


def seal(secret: bytes, purpose: str, text: str) -> str:
    """A text that only who has the secret (32 bytes) can read: AES-256-GCM, bound to its purpose."""
    nonce = os.urandom(12)
    sealed = AESGCM(secret).encrypt(nonce, text.encode(), purpose.encode())
    return base64.b64encode(nonce + sealed).decode()


def unseal(secret: bytes, purpose: str, sealed: str) -> str:
    """The inverse. Raises InvalidInput for another secret."""
    raw = base64.b64decode(sealed)
    try:
        return AESGCM(secret).decrypt(raw[:12], raw[12:], purpose.encode()).decode()
    except InvalidTag as error:
        raise InvalidInput("it was sealed with another secret") from error


def _leaf(issuer: Made, key: NodeKey, names: Sequence[x509.GeneralName], serial: str, now: datetime, life: timedelta, uses: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,)) -> x509.Certificate:  # fmt: skip
    above, above_key = certificate_of(issuer.certificate), _key_of(issuer.key)
    said = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "causeway")]
    if serial:
        said.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial))
    builder = _begun(x509.Name(said), above.subject, key, now, life, above.not_valid_after_utc)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    builder = _with_identifiers(builder, key, above_key.public_key())
    algorithm = None if isinstance(above_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(above_key, algorithm)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        try:
            return x509.DNSName(name)
        except ValueError as error:
            raise InvalidInput(f"{name!r} cannot stand in a server's certificate") from error


def _begun(subject: x509.Name, issuer: x509.Name, key: NodeKey, now: datetime, life: timedelta, until: datetime | None = None) -> x509.CertificateBuilder:  # fmt: skip
    ends = now + life
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(ends, until) if until else ends)
    )


def _as_authority(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    basic = x509.BasicConstraints(ca=True, path_length=path_length)
    return builder.add_extension(basic, critical=True).add_extension(_usage(is_authority=True), critical=True)


def _with_identifiers(builder: x509.CertificateBuilder, key: NodeKey, above: object) -> x509.CertificateBuilder:  # fmt: skip
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(above)  # type: ignore[arg-type]
    subject = x509.SubjectKeyIdentifier.from_public_key(key)
    return builder.add_extension(subject, critical=False).add_extension(authority, critical=False)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _lacks_of_authority(one: x509.Certificate, now: datetime) -> list[str]:
    lacks = []
    try:
        if not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            lacks.append("is no authority (basicConstraints)")
        if not one.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            lacks.append("may not sign certificates (keyUsage)")
        one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        lacks.append(f"lacks an extension: {error}")
    if not one.not_valid_before_utc <= now < one.not_valid_after_utc:
        lacks.append(f"is valid from {one.not_valid_before_utc} to {one.not_valid_after_utc} only")
    return lacks


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _key_hash(key: object) -> str:
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return hashlib.sha256(spki).hexdigest()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _key_of(text: str) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"not a private key in PEM without a password: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise InvalidInput("the authority's key is neither ECDSA nor Ed25519", hint="make one of these")
    return key


def _unfit(said: str) -> InvalidInput:
    return InvalidInput("the signing request is not valid", faults=[Fault("/csr", said)])
