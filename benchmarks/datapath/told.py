"""A control plane that says one world to one agent, a keep-alive every ten seconds, and a burst of changes when a line comes in. In the node's namespace."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

from federation import wire

CLUSTER, NODE = "dc1", "n1"
ENDPOINTS, IDENTITIES, POLICIES, BURST = 110, 20_000, 200, 10_000
KEEP_ALIVE_SECONDS = 10.0
CLOSE = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"


def document(
    kind: str, name: str, spec: dict[str, Any], status: dict[str, Any] | None = None, **meta: Any
) -> dict[str, Any]:
    """As the control plane stores it."""
    body = {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}
    return body | ({"status": status} if status else {})


def world() -> Iterator[dict[str, Any]]:
    """110 endpoints of this node, 20,000 identities of the federation, and policies that select some of both."""
    yield document("Cluster", CLUSTER, {"prefixes": ["10.10.0.0/16"]})
    yield document(
        "Node", NODE, {"addresses": ["192.0.2.1"], "podPrefixes": ["10.10.1.0/24"]}, cluster=CLUSTER
    )
    for number in range(IDENTITIES):
        labels = {
            "causeway.dev/cluster": f"c{number % 8}" if number >= ENDPOINTS else CLUSTER,
            "projectcalico.org/namespace": f"space{number % 200}",
            "app": f"app{number}",
            "tier": ("front", "middle", "back")[number % 3],
        }
        yield document("Identity", str(300 + number), {"number": 300 + number, "labels": labels})
    for number in range(ENDPOINTS):
        yield endpoint(number, f"10.10.1.{number + 1}", f"veth{number}")
    for number in range(POLICIES):
        rules = [{"action": "Allow", "protocol": "TCP", "source": {"selector": f"app == 'app{number * 7 + n}'"}, "destination": {"ports": [8000 + n]}} for n in range(5)]  # fmt: skip
        spec = {
            "selector": f"projectcalico.org/namespace == 'space{number}'",
            "types": ["Ingress"],
            "ingress": rules,
        }
        yield document("GlobalNetworkPolicy", f"p{number}", spec)


def endpoint(number: int, address: str, interface: str = "") -> dict[str, Any]:
    """One of this node's."""
    labels = {"app": f"app{number % ENDPOINTS}", "tier": ("front", "middle", "back")[number % ENDPOINTS % 3]}
    spec = {"node": NODE if interface else "other", "addresses": [address], "interface": interface}
    status = {"identity": 300 + number % ENDPOINTS}
    return document("Endpoint", f"e{number}", spec, status, cluster=CLUSTER, namespace=f"space{number % ENDPOINTS % 200}", labels=labels)  # fmt: skip


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, burst: asyncio.Event) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    if b"/agent/v1/stream" not in request:
        writer.write(CLOSE)
        await writer.drain()
        writer.close()
        return
    writer.write(STREAM)
    lines = [wire.Begin("snapshot", 1), *map(wire.Upsert, world()), wire.InSync(1)]
    writer.write(b"".join(map(wire.encode, lines)))
    del lines
    revision = 1
    while True:
        try:
            await asyncio.wait_for(burst.wait(), KEEP_ALIVE_SECONDS)
        except TimeoutError:
            writer.write(wire.encode(wire.Commit(revision)))
        else:
            burst.clear()
            for number in range(BURST):
                revision += 1
                changed = endpoint(ENDPOINTS + number, f"10.9.{number >> 8}.{number & 255}")
                writer.write(wire.encode(wire.Upsert(changed)) + wire.encode(wire.Commit(revision)))
        await writer.drain()


async def serve(port: int) -> None:
    """For ever."""
    burst, loop = asyncio.Event(), asyncio.get_running_loop()
    server = await asyncio.start_server(lambda r, w: answer(r, w, burst), "127.0.0.1", port, limit=1 << 20)
    loop.add_reader(sys.stdin, lambda: sys.stdin.readline() and burst.set())
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
