"""A local identity provider: publishes its keys over HTTP, and signs what it is asked to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "causeway"


class Issuer:
    """Of one address. `asked`: paths that were fetched."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: dict[str, tuple[Any, str]] = {}
        self.asked: list[str] = []
        self.is_away = False
        self.discovery: dict[str, Any] = {}
        self.add("first", ec.generate_private_key(ec.SECP256R1()), "ES256")

    def add(self, name: str, key: Any, algorithm: str) -> None:
        self.keys[name] = key, algorithm

    def add_all(self) -> None:
        self.add("rsa", rsa.generate_private_key(65537, 2048), "RS256")
        self.add("pss", rsa.generate_private_key(65537, 2048), "PS256")
        self.add("ed", ed25519.Ed25519PrivateKey.generate(), "EdDSA")

    def token(self, *, key: str = "first", kid: str | None = None, **claims: Any) -> str:
        private, algorithm = self.keys[key]
        whole = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", **claims}
        told = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(told, private, algorithm, headers={"kid": kid if kid is not None else key})

    def answer(self, path: str) -> bytes:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": self.url + "/keys", **self.discovery}).encode()
        listed = []
        for name, (private, algorithm) in self.keys.items():
            maker = jwt.get_algorithm_by_name(algorithm)
            public = json.loads(maker.to_jwk(private.public_key()))
            listed.append({**public, "kid": name, "use": "sig", "alg": algorithm})
        return json.dumps({"keys": listed}).encode()


@contextmanager
def running() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"" if issuer.is_away else issuer.answer(self.path)
            self.send_response(503 if issuer.is_away else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
