"""Ethernet frames as endpoints send and get them, byte by byte."""

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from federation.policy.walk import Packet

Address = IPv4Address | IPv6Address
TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
MAC = bytes.fromhex("0a5800000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is unusual about a frame."""

    flags: int = SYN
    tags: tuple[int, ...] = ()
    """VLANs, the outermost first."""
    extensions: tuple[tuple[int, bytes], ...] = ()
    """IPv6 headers between the first and the transport: (their number, their bytes without the next header)."""
    source_mac: bytes = MAC
    echo: int = 7
    """Identifier of an ICMP echo."""
    hops: int = 64
    payload: bytes = field(default=b"")


PLAIN = Shape()


def frame(source: Address, destination: Address, packet: Packet, shape: Shape = PLAIN) -> bytes:
    """One frame from source to destination."""
    body = transport(packet, shape)
    if source.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, shape.hops, packet.protocol, 0)
        kind, whole = 0x0800, head + source.packed + destination.packed + body
    else:
        kind, whole = 0x86DD, v6(source, destination, packet.protocol, body, shape)
    tags = b"".join(struct.pack("!HH", 0x8100, tag) for tag in shape.tags)
    return bytes(6) + shape.source_mac + tags + struct.pack("!H", kind) + whole


def v6(source: Address, destination: Address, protocol: int, body: bytes, shape: Shape) -> bytes:
    """An IPv6 packet with its chain of headers."""
    numbers = [number for number, _ in shape.extensions] + [protocol]
    chain = b"".join(bytes([numbers[n + 1]]) + content for n, (_, content) in enumerate(shape.extensions))
    head = struct.pack("!IHBB", 6 << 28, len(chain) + len(body), numbers[0], shape.hops)
    return head + source.packed + destination.packed + chain + body


def transport(packet: Packet, shape: Shape) -> bytes:
    """The transport's header, and a little more."""
    ends = (packet.source_port, packet.destination_port)
    match packet.protocol:
        case 6:
            return struct.pack("!HHIIBBHHH", *ends, 0, 0, 5 << 4, shape.flags, 1024, 0, 0) + shape.payload
        case 17:
            return struct.pack("!HHHH", *ends, 8 + len(shape.payload), 0) + shape.payload
        case 132:
            return struct.pack("!HHII", *ends, 0, 0) + shape.payload
        case 1 | 58:
            return struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, shape.echo, 0) + shape.payload
        case _:
            return bytes(8) + shape.payload
