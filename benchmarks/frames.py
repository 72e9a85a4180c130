"""Ethernet frames, for programs that are run without a wire. Pure."""

import struct
from ipaddress import IPv4Address

ETHERNET = bytes(12) + b"\x08\x00"
SYN, ACK = 0x02, 0x10


def syn(source: IPv4Address, destination: IPv4Address, source_port: int = 40000, port: int = 80) -> bytes:
    """The first packet of a TCP connection."""
    return segment((source, source_port), (destination, port), SYN)


def segment(source: tuple[IPv4Address, int], destination: tuple[IPv4Address, int], flags: int) -> bytes:
    """A packet of a TCP connection, from address and port to address and port."""
    tcp = struct.pack("!HHIIBBHHH", source[1], destination[1], 0, 0, 5 << 4, flags, 1024, 0, 0)
    return ETHERNET + ipv4(source[0], destination[0], 6, tcp)


def ipv4(source: IPv4Address, destination: IPv4Address, protocol: int, payload: bytes) -> bytes:
    """A packet; nobody here checks its sum."""
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, source.packed, destination.packed
    )
    return header + payload
