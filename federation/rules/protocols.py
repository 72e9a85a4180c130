"""Names of protocols as rules write them. Source: IANA, Assigned Internet Protocol Numbers."""

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
"""Numbers, by name in lower case."""
WITH_PORTS = (6, 17, 132, 136)


def protocol_number(protocol: int | str) -> int:
    """The number of a rule's protocol."""
    return protocol if isinstance(protocol, int) else PROTOCOLS[protocol.lower()]
