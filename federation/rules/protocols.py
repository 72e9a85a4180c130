"""Names of protocols as rules write them. Source: IANA, Assigned Internet Protocol Numbers."""

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
"""Numbers, by name in lower case."""
WITH_PORTS = (6, 17, 132, 136)


def protocol_number(protocol: int | str) -> int:
    """The number of a rule's protocol: one by name, or a number (which may be written as text). Raises ValueError."""
    if isinstance(protocol, int):
        return protocol
    return PROTOCOLS[protocol.lower()] if protocol.lower() in PROTOCOLS else int(protocol)
