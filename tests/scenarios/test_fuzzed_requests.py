"""Whatever is sent to the routes of agents, over a real socket: no answer is a 500, the replica lives, its log has no traceback, others are served."""

import base64
import gzip
import json
import random
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeagent.control import csr, identity
from tests.scenarios.served import WHO, Served, served

FIELDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("POST", "/agent/v1/join"): ("token", "cluster", "node", "os", "csr", "addresses", "podPrefixes"),
    ("PUT", "/agent/v1/key"): ("publicKey", "listenPort", "cluster", "node"),
    ("POST", "/agent/v1/report"): ("revision", "faults", "cluster", "node"),
    ("POST", "/agent/v1/counts"): ("counts",),
    ("POST", "/agent/v1/renew"): ("csr",),
    ("POST", "/agent/v1/recover"): ("certificate", "csr"),
    ("POST", "/agent/v1/exchange"): ("csr",),
    ("POST", "/agent/v1/trust"): ("digest",),
}
PARTS = ("kind", "policy", "section", "rule", "packets", "bytes", "key", "reason", "message")
texts = st.text(max_size=12) | st.sampled_from(["dc1", "n1", "a.b", "GlobalNetworkPolicy", "192.0.2.1", "::1/0", "x" * 5000, "\u00e9", "-----BEGIN CERTIFICATE-----"])  # fmt: skip
numbers = st.integers() | st.sampled_from([2**31, 2**53, 2**53 + 1, 2**62, 2**63, 2**64, -1]) | st.floats(allow_nan=False)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS) | texts, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
REPORT = b'POST /agent/v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\n{"revision":1,"faults":[]}'
BROKEN = [
    b"", b"\x00", b"\r\n" * 50, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" * 20, b"\xff" * 70_000,
    b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /agent/v1/stream HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"GET /agent/v1/nowhere HTTP/1.1\r\nHost: [\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /agent/v1/stream/%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /agent/v1/stream?since=" + b"9" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /agent/v1/stream?since=%00&trust=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n\r\n", REPORT.replace(b"26", b"-1"), REPORT.replace(b"26", b"9" * 30),
    REPORT.replace(b"Content-Length: 26", b"Transfer-Encoding: chunked"), REPORT.replace(b"Content-Length: 26", b"Content-Length: 26\r\nTransfer-Encoding: chunked"),
    REPORT.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), REPORT.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"), REPORT.replace(b"POST", b"BREW"), REPORT * 5,
    REPORT.replace(b"Host: x", b"Host: [::1\r\nAuthorization: Bearer \xff\xfe\r\nIdempotency-Key: \xe9\r\nIf-Match: \xb2"), REPORT.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: [::1, \xff,,"),
]  # fmt: skip


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def server(stand: Served) -> Iterator[Served]:
    """That is there after the test too, has nothing to complain of itself, and serves its node."""
    before = len(stand.log)
    yield stand
    assert stand.process.poll() is None, stand.log[-3000:]
    with stand.client() as node:
        assert node.post("/agent/v1/report", json={"revision": 1}).status_code == 204
    assert "Traceback" not in stand.log[before:], stand.log[-3000:]


def pem(kind: str, raw: bytes) -> str:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(raw).decode()}-----END {kind}-----\n"


def raw_of(text: str) -> bytes:
    found = re.search(r"-----BEGIN [A-Z ]+-----\n(.*?)-----END", text, re.DOTALL)
    assert found
    return base64.b64decode(found.group(1))


def mutated(chance: random.Random, raw: bytes) -> bytes:
    """Some bytes are others, gone, or come."""
    made = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(made))
        match chance.randrange(4):
            case 0 | 1:
                made[place] ^= 1 << chance.randrange(8)
            case 2:
                del made[place : place + chance.randint(1, 6)]
            case _:
                made[place:place] = chance.choice([b"\x00", b"\r\n", b"\xff", b"%00", b" ", b":", b"9" * 30])
        made = made or bytearray(b"x")
    return bytes(made)


def answered(server: Served, said: bytes, *, shows: bool = True) -> int:
    """The status of what is answered first; 0: nothing, or the connection was cut."""
    with server.connect(shows=shows) as line:
        line.settimeout(0.15)
        try:
            line.sendall(said)
            got = line.recv(64)
        except OSError:  # nothing is said to half a request, and TLS is cut
            return 0
    found = re.match(rb"HTTP/1\.1 (\d\d\d)", got)
    return int(found.group(1)) if found else 0


@pytest.mark.parametrize("route", FIELDS, ids=lambda route: route[1].rpartition("/")[2])
def test_a_body_of_anything_is_taken_or_refused_with_a_reason(server: Served, route: tuple[str, str]) -> None:
    method, path = route
    bodies = values | st.dictionaries(st.sampled_from([*FIELDS[route], *FIELDS[route], "other"]), values)
    with server.client() as node, server.client(shows=False) as anybody:

        @FEW
        @given(bodies)
        def sent(body: Any) -> None:
            for http in (node, anybody):
                answer = http.request(method, path, content=json.dumps(body).encode())
                assert answer.status_code < 500, (body, answer.text)
                assert answer.status_code < 300 or answer.json()["detail"]

        sent()


def test_a_certificate_or_request_with_other_bits_is_refused(server: Served) -> None:
    chance = random.Random(7)
    key, certificate = identity.key_and_certificate(server.state)
    request = csr.request(key).csr
    shown, asked = raw_of(certificate), raw_of(request)
    with server.client() as node, server.client(shows=False) as anybody:
        for _ in range(60):
            other = pem("CERTIFICATE", mutated(chance, shown))
            odd = pem("CERTIFICATE REQUEST", mutated(chance, asked))
            for http, path, body in (
                (anybody, "recover", {"certificate": other, "csr": request}),
                (anybody, "recover", {"certificate": certificate, "csr": odd}),
                (node, "renew", {"csr": odd}),
            ):
                answer = http.post(f"/agent/v1/{path}", json=body)
                assert answer.status_code in (401, 403, 422), (body, answer.text)
        long = {"certificate": certificate + "x" * 100_000, "csr": request}
        assert anybody.post("/agent/v1/recover", json=long).status_code == 401
        assert anybody.post("/agent/v1/recover", json={"certificate": certificate, "csr": request + "x" * 100_000}).status_code == 422  # fmt: skip


@pytest.mark.parametrize("said", BROKEN, ids=lambda said: f"{len(said)} {said[:30]!r}")
def test_a_request_that_is_none_is_refused_or_cut(server: Served, said: bytes) -> None:
    for shows in (True, False):
        assert answered(server, said, shows=shows) < 500


def test_a_request_with_other_bytes_is_refused_or_cut(server: Served) -> None:
    chance = random.Random(11)
    for number in range(60):
        said = mutated(chance, chance.choice([REPORT, *BROKEN[7:13]]))
        assert answered(server, said) < 500, (number, said)


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b'{"revision": 1}'), "gzip", 400),
        (zlib.compress(b'{"revision": 1}'), "deflate", 400),
        (gzip.compress(b"x" * 50_000_000), "gzip", 400),
        (b"[" * 1_000_000, "", 400),
        (b'{"revision": ' + b"9" * 100_000 + b"}", "", 400),
        (b'{"revision": 1, "revision": 2}', "", 400),
        (b'{"revision": NaN}', "", 400),
        (b'{"revision": 1, "faults": ["\\u0000"]}', "", 400),
        (b"\xff\xfe{\x00}\x00", "", 400),
        (b"x" * (9 << 20), "", 413),
        (json.dumps({**WHO, "revision": 1, "faults": [{"key": "x" * 7_000_000, "reason": "", "message": ""}]}).encode(), "", 204),
    ],
    ids=lambda value: f"{value[:16]!r}" if isinstance(value, bytes) else str(value),
)  # fmt: skip
def test_a_body_that_is_a_trap_is_not_stepped_into(
    server: Served, body: bytes, coding: str, status: int
) -> None:
    with server.client() as node:
        headers = {"Content-Encoding": coding} if coding else {}
        answer = node.post("/agent/v1/report", content=body, headers=headers)
        assert answer.status_code == status, answer.text[:300]


def test_who_is_slow_or_goes_away_in_the_middle_holds_nobody_up(server: Served) -> None:
    with ExitStack() as stack:
        for number in range(60):
            line = stack.enter_context(server.connect(shows=number % 2 == 0))
            line.sendall(REPORT[: len(REPORT) * (number + 1) // 61])
        with server.client() as node:
            for _ in range(20):
                assert node.post("/agent/v1/report", json={"revision": 1}).status_code == 204
    with server.client() as node:  # all of them are gone
        assert node.get("/healthz").status_code == 200


def memory(server: Served) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def test_streams_that_are_opened_and_dropped_leave_nothing(server: Served) -> None:
    def some() -> None:
        for _ in range(30):
            with server.connect() as line:
                line.sendall(b"GET /agent/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
                assert line.recv(12) == b"HTTP/1.1 200"

    some()
    before = memory(server)
    some()
    assert memory(server) < before + 20_000, "KiB"
