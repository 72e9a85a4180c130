"""A node's key and its signing request (PKCS #10), made in a child process: `python -m nodeagent.control.csr`.

cryptography maps 7 MiB for what an agent asks twice a day. The child gets a private key (PEM) on its standard input (nothing: it makes one, ECDSA
P-256), and answers with one JSON object. The request says nothing but the key: who the node is, the control plane knows.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field

from federation.errors import DriverError


@dataclass(frozen=True, slots=True)
class Request:
    """`key` (PEM) stays out of every text form of this object."""

    csr: str
    key: str = field(repr=False)


def request(key: str = "") -> Request:
    """A request by a key; without one, by a new one. Raises DriverError when the child fails."""
    words = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(words, input=key, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DriverError(f"no signing request could be made: {error.strerror or error}") from error
    if done.returncode != 0:
        raise DriverError(f"no signing request could be made: {done.stderr.strip()[-300:]}")
    answer = json.loads(done.stdout)
    return Request(answer["csr"], answer["key"])


def _answer(key: str) -> dict[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    encoding = serialization.Encoding.PEM
    private = serialization.load_pem_private_key(key.encode(), None) if key else None
    if private is None:
        private = ec.generate_private_key(ec.SECP256R1())
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is not ECDSA")
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
    form = private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"csr": made.public_bytes(encoding).decode(), "key": form.decode()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(sys.stdin.read())))
