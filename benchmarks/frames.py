"""Ethernet frames, for programs that are run without a wire. Pure."""

import struct
from ipaddress import IPv4Address

ETHERNET = bytes(12) + b"\x08\x00"
SYN = 0x02


def syn(source: IPv4Address, destination: IPv4Address, source_port: int = 40000, port: int = 80) -> bytes:
    """The first packet of a TCP connection."""
    tcp = struct.pack("!HHIIBBHHH", source_port, port, 0, 0, 5 << 4, SYN, 1024, 0, 0)
    return ETHERNET + ipv4(source, destination, 6, tcp)


def ipv4(source: IPv4Address, destination: IPv4Address, protocol: int, payload: bytes) -> bytes:
    """A packet; nobody here checks its sum."""
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, source.packed, destination.packed
    )
    return header + payload
