"""A control plane with an authority, a cluster, and what a node sends."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.access.actor import inside
from controlplane.intent import Change, JoinRequest, TokenBounds, Verb
from controlplane.service import ControlPlane
from federation.resources.codec import decode


def request_of(key: ec.EllipticCurvePrivateKey) -> str:
    builder = library.CertificateSigningRequestBuilder().subject_name(library.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def csr(key: ec.EllipticCurvePrivateKey) -> str:
    return request_of(key)


@pytest.fixture
async def trusted(plane: ControlPlane, tmp_path: Path) -> ControlPlane:
    await plane.certificates.authorities.open(tmp_path, plane.clock.now())
    for second, cluster in ((10, "dc1"), (20, "aws1")):
        body = {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": cluster}, "spec": {"prefixes": [f"10.{second}.0.0/16"]}}  # fmt: skip
        resource = decode(body)
        await plane.change([Change(verb=Verb.APPLY, key=resource.key, resource=resource)], actor=inside("t"))
    return plane


@pytest.fixture
def asked(trusted: ControlPlane) -> Callable[..., object]:
    """A join request with a fresh token of its cluster."""

    async def make(cluster: str = "dc1", name: str = "n1", *, source: str = "", **bounds: str) -> JoinRequest:  # fmt: skip
        token = await trusted.create_join_token(
            cluster, 3600, 1, actor=inside("t"), bounds=TokenBounds(**bounds)
        )
        second = 10 if cluster == "dc1" else 20
        return JoinRequest(
            token=token.text,
            cluster=cluster,
            node=name,
            os="linux",
            addresses=(IPv4Address(f"192.0.2.{second}"),),
            pod_prefixes=(IPv4Network(f"10.{second}.1.0/24"),),
            source=source,
        )

    return make
