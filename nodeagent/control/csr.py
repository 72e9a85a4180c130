"""A node's key and its signing request (PKCS #10), made in a child process: `python -m nodeagent.control.csr`.

cryptography maps 7 MiB for what an agent asks twice a day. The child gets a private key (PEM) on its standard input (nothing: it makes one, ECDSA
P-256), and answers with one JSON object. The request says nothing but the key: who the node is, the control plane knows.
With the word `renew` it makes a new key, and a proof by the given one: a request whose subject names the digest of the new one's.
"""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from federation.errors import DriverError


@dataclass(frozen=True, slots=True)
class Request:
    """`key` (PEM) stays out of every text form of this object."""

    csr: str
    key: str = field(repr=False)
    proof: str = ""
    """A request by the key before, which vouches for this one; empty: there was none."""


def request(key: str = "") -> Request:
    """A request by a key; without one, by a new one. Raises DriverError when the child fails."""
    return _asked(key)


def renewal(key: str) -> Request:
    """A request by a new key, vouched for by the one that the node has. Raises DriverError when the child fails."""
    return _asked(key, "renew")


def _asked(key: str, *words: str) -> Request:
    words = (sys.executable, "-m", __name__, *words)
    try:
        done = subprocess.run(words, input=key, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DriverError(f"no signing request could be made: {error.strerror or error}") from error
    if done.returncode != 0:
        raise DriverError(f"no signing request could be made: {done.stderr.strip()[-300:]}")
    answer = json.loads(done.stdout)
    return Request(answer["csr"], answer["key"], answer["proof"])


def _answer(given: str, *, is_renewal: bool) -> dict[str, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    old = serialization.load_pem_private_key(given.encode(), None) if given else None
    key = old if old is not None and not is_renewal else ec.generate_private_key(ec.SECP256R1())
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is not ECDSA")
    csr, proof = _signed(key), ""
    if is_renewal and isinstance(old, ec.EllipticCurvePrivateKey):
        proof = _signed(old, hashlib.sha256(csr.encode()).hexdigest())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
    return {"csr": csr, "key": text, "proof": proof}


def _signed(key: Any, name: str = "") -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(sys.stdin.read(), is_renewal="renew" in sys.argv)))
