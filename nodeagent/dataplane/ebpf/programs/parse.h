// From bytes to `struct packet`. Each part gives 0, or the reason why the packet is not carried. What is in its usual place is read
// where it lies; what is rare, by the helper, whatever part of the packet it is in.

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMP6 58
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129
#define ROUTER_SOLICITATION 133
#define ROUTER_ADVERTISEMENT 134
#define NEIGHBOUR_ADVERTISEMENT 136
#define REDIRECT 137
#define MORE_FRAGMENTS 0x2000
#define FRAGMENT_OFFSET 0x1fff
#define EXTENSIONS 8 // headers that are followed; who sends more is not carried
#define NEIGHBOUR 255 // not a reason: it passes, and is nobody's flow
#define NOT_USUAL 254 // not a reason: to be read with care
#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

static inline int has_ports(u8 p) { return p == IPPROTO_TCP || p == IPPROTO_UDP || p == 132 || p == 136; }

static inline int is_extension(u8 p) { return p == 0 || p == 43 || p == 44 || p == 51 || p == 60; }

// An ICMP error, which is about another flow.
static inline int is_error(struct packet *k) {
    return k->is_v6 ? k->icmp_type >= 1 && k->icmp_type <= 4 : k->icmp_type == 3 || k->icmp_type == 11 || k->icmp_type == 12;
}

static inline int is_same(struct ip *a, struct ip *b) {
    return !((a->part[0] ^ b->part[0]) | (a->part[1] ^ b->part[1]) | (a->part[2] ^ b->part[2]) | (a->part[3] ^ b->part[3]));
}

static inline int is_link_local(struct ip *a) { return (a->part[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000); }
static inline int is_multicast(struct ip *a) { return (a->part[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000); }

#define READS 3 // of a value that was not whole, or another key's
#define BARRIER asm volatile("" ::: "memory")

// The entry of an interface's endpoint, whole.
static inline int take_endpoint(struct endpoint *to, u32 ifindex) {
    for (int n = 0; n < READS; n++) {
        struct endpoint *from = endpoints.lookup(&ifindex);
        if (!from) continue; // it may be on its way to another place
        *to = *from;
        BARRIER;
        if (from->ifindex == ifindex && from->seal == to->epoch && to->seal == to->epoch && to->ifindex == ifindex) return 1;
    }
    return 0;
}

// Below `e` is the endpoint that only sends from, and gets only for, its own addresses; none at an interface of the node.
static inline int owns(u32 ifindex, struct endpoint *e, struct ip *address, u32 is_v6) {
    if (!e) return 1;
    if (is_v6 ? is_same(address, &e->address6) : address->part[0] == e->address4) return 1;
    if (!(e->flags & HAS_MORE_ADDRESSES)) return 0;
    struct more_key key = {.ifindex = ifindex, .is_v6 = is_v6, .address = *address};
    return more_addresses.lookup(&key) != 0;
}

static inline void set_ports(struct packet *k, u16 source, u16 destination, u32 direction) {
    k->local_port = bpf_ntohs(direction == EGRESS ? source : destination);
    k->remote_port = bpf_ntohs(direction == EGRESS ? destination : source);
}

static inline int is_own_mac(struct endpoint *e, u8 *source) {
    if (!e || !(e->mac[0] | e->mac[1] | e->mac[2] | e->mac[3] | e->mac[4] | e->mac[5])) return 1;
    for (int n = 0; n < ETH_ALEN; n++)
        if (source[n] != e->mac[n]) return 0;
    return 1;
}

// Nearly every packet: TCP or UDP right behind an IPv4 header without options, or an IPv6 header. Read where it lies, which costs a tenth
// of the helper. NOT_USUAL: nothing is said of it yet.
static inline int parse_usual(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 direction, u32 head) {
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *transport;
    struct ethhdr *ethernet = data;
    struct ip source = {}, destination = {};
    if (skb->vlan_present) return NOT_USUAL;
    if (skb->protocol == bpf_htons(ETH_P_IP)) {
        struct iphdr *ip = data + head;
        transport = ip + 1;
        if (transport + 8 > end || ip->version != 4 || ip->ihl != 5) return NOT_USUAL;
        if (ip->frag_off & bpf_htons(MORE_FRAGMENTS | FRAGMENT_OFFSET)) return NOT_USUAL;
        k->protocol = ip->protocol;
        source.part[0] = ip->saddr;
        destination.part[0] = ip->daddr;
    } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr *ip = data + head;
        transport = ip + 1;
        if (transport + 8 > end || ip->version != 6) return NOT_USUAL;
        k->protocol = ip->nexthdr;
        k->is_v6 = 1;
        __builtin_memcpy(&source, &ip->saddr, 16);
        __builtin_memcpy(&destination, &ip->daddr, 16);
    } else {
        return NOT_USUAL;
    }
    if (direction == EGRESS && !is_own_mac(e, ethernet->h_source)) return SPOOFED;
    k->local = direction == EGRESS ? source : destination;
    k->remote = direction == EGRESS ? destination : source;
    u16 *ports = transport;
    if (k->protocol == IPPROTO_TCP) {
        if (transport + 14 > end) return NOT_USUAL;
        k->tcp_flags = *(u8 *)(transport + 13);
        k->is_opening = (k->tcp_flags & (SYN | ACK)) == SYN;
    } else if (k->protocol != IPPROTO_UDP) {
        return NOT_USUAL;
    }
    if (!owns(skb->ifindex, e, &k->local, k->is_v6)) return k->is_v6 ? NOT_USUAL : SPOOFED;
    set_ports(k, ports[0], ports[1], direction);
    k->length = skb->len - head;
    k->is_usual = 1;
    return 0;
}

// The flow that an ICMP error speaks of: its packet went the other way.
static inline int parse_about(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 at, u32 direction) {
    u32 other = direction == EGRESS ? INGRESS : EGRESS;
    struct ip source = {}, destination = {};
    if (k->is_v6) {
        struct ipv6hdr inner;
        if (bpf_skb_load_bytes(skb, at, &inner, sizeof(inner))) return MALFORMED;
        __builtin_memcpy(&source, &inner.saddr, 16);
        __builtin_memcpy(&destination, &inner.daddr, 16);
        k->protocol = inner.nexthdr;
        at += sizeof(inner);
    } else {
        struct iphdr inner;
        if (bpf_skb_load_bytes(skb, at, &inner, sizeof(inner))) return MALFORMED;
        source.part[0] = inner.saddr;
        destination.part[0] = inner.daddr;
        k->protocol = inner.protocol;
        at += inner.ihl * 4;
    }
    k->local = other == EGRESS ? source : destination;
    k->remote = other == EGRESS ? destination : source;
    if (!owns(skb->ifindex, e, &k->local, k->is_v6)) return SPOOFED;
    u32 is_icmp = k->protocol == IPPROTO_ICMP || k->protocol == ICMP6;
    u16 ports[2] = {};
    bpf_skb_load_bytes(skb, at + (is_icmp ? 4 : 0), ports, 4); // what is not there belongs to no flow
    set_ports(k, ports[0], is_icmp ? ports[0] : ports[1], other); // an echo's identifier
    k->is_about = 1;
    return 0;
}

// A connection is one echo (request and answers, by identifier), or messages of one type and code: what was allowed for one lets no
// other through. Only an answer is never an opening.
static inline int parse_icmp(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 at, u32 direction) {
    u8 icmp[8];
    if (bpf_skb_load_bytes(skb, at, icmp, 8)) return MALFORMED;
    u32 reply = k->is_v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY, request = k->is_v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST;
    k->icmp_type = icmp[0];
    k->icmp_code = icmp[1];
    k->is_opening = icmp[0] != reply;
    if ((icmp[0] == reply || icmp[0] == request) && !icmp[1]) {
        k->local_port = k->remote_port = (icmp[4] << 8) | icmp[5];
        return 0;
    }
    if (is_error(k)) return parse_about(skb, e, k, at + 8, direction);
    k->local_port = (icmp[0] << 8) | icmp[1];
    k->remote_port = ~k->local_port; // an echo's two are equal
    return 0;
}

static inline int parse_transport(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 at, u32 direction) {
    if (k->protocol == IPPROTO_ICMP || k->protocol == ICMP6) {
        if ((k->protocol == ICMP6) != k->is_v6) return MALFORMED;
        return parse_icmp(skb, e, k, at, direction);
    }
    if (!has_ports(k->protocol)) return 0;
    u16 ports[2];
    if (bpf_skb_load_bytes(skb, at, ports, 4)) return MALFORMED;
    set_ports(k, ports[0], ports[1], direction);
    if (k->protocol != IPPROTO_TCP) return 0;
    if (bpf_skb_load_bytes(skb, at + 13, &k->tcp_flags, 1)) return MALFORMED;
    k->is_opening = (k->tcp_flags & (SYN | ACK)) == SYN;
    u8 last;
    // The whole header in the first fragment, so that no later one says anything of what was judged.
    return k->is_fragment && bpf_skb_load_bytes(skb, at + 19, &last, 1) ? MALFORMED : 0;
}

static inline int parse_v4(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 at, u32 direction) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) return MALFORMED;
    if (ip.version != 4 || ip.ihl < 5) return MALFORMED;
    k->protocol = ip.protocol;
    k->local.part[0] = direction == EGRESS ? ip.saddr : ip.daddr;
    k->remote.part[0] = direction == EGRESS ? ip.daddr : ip.saddr;
    if (!owns(skb->ifindex, e, &k->local, 0)) return SPOOFED;
    u16 fragment = bpf_ntohs(ip.frag_off);
    k->is_fragment = (fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) != 0;
    k->later = fragment & FRAGMENT_OFFSET;
    k->id = ((u32)ip.protocol << 16) | ip.id;
    return k->later ? 0 : parse_transport(skb, e, k, at + ip.ihl * 4, direction);
}

// Neighbours' and routers' messages between an endpoint and its node (RFC 4861), whose ICMP begins at `at`: NEIGHBOUR when they pass.
// None comes from further away.
static inline int judge_neighbour(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 at, u32 direction) {
    u8 hops;
    struct ip target;
    if (bpf_skb_load_bytes(skb, at - sizeof(struct ipv6hdr) + 7, &hops, 1) || hops != 255) return LINK_LOCAL;
    if (!e) return NEIGHBOUR;
    if (direction == INGRESS) return k->icmp_type == REDIRECT ? LINK_LOCAL : NEIGHBOUR;
    if (k->icmp_type == ROUTER_ADVERTISEMENT || k->icmp_type == REDIRECT) return SPOOFED; // an endpoint is nobody's router
    u32 is_unset = !(k->local.part[0] | k->local.part[1] | k->local.part[2] | k->local.part[3]);
    if (!is_unset && !is_link_local(&k->local) && !owns(skb->ifindex, e, &k->local, 1)) return SPOOFED;
    if (k->icmp_type != NEIGHBOUR_ADVERTISEMENT) return NEIGHBOUR;
    if (bpf_skb_load_bytes(skb, at + 8, &target, 16)) return MALFORMED;
    return is_link_local(&target) || owns(skb->ifindex, e, &target, 1) ? NEIGHBOUR : SPOOFED;
}

// RFC 8200: headers one after the other, until one that is not an extension.
static inline int parse_v6(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 at, u32 direction) {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) return MALFORMED;
    if (ip.version != 6) return MALFORMED;
    struct ip source, destination;
    __builtin_memcpy(&source, &ip.saddr, 16);
    __builtin_memcpy(&destination, &ip.daddr, 16);
    k->local = direction == EGRESS ? source : destination;
    k->remote = direction == EGRESS ? destination : source;
    k->is_v6 = 1;
    u8 next = ip.nexthdr;
    at += sizeof(ip);
    if (next == ICMP6) {
        if (bpf_skb_load_bytes(skb, at, &k->icmp_type, 1)) return MALFORMED;
        if (k->icmp_type >= ROUTER_SOLICITATION && k->icmp_type <= REDIRECT) return judge_neighbour(skb, e, k, at, direction);
    }
    if (!owns(skb->ifindex, e, &k->local, 1)) return is_link_local(&k->local) || is_multicast(&k->local) ? LINK_LOCAL : SPOOFED;
    int n = 0;
    for (; n < EXTENSIONS; n++) {
        if (!is_extension(next)) break;
        u8 part[8]; // of every kind: the next header, its own length
        if (bpf_skb_load_bytes(skb, at, part, 8)) return MALFORMED;
        if (next == 43 && part[3]) return MALFORMED; // the packet would go on to somebody else (RFC 5095)
        if (next == 44) {
            u16 offset = (part[2] << 8) | part[3];
            k->is_fragment = (offset & 0xfff9) != 0;
            k->later = offset >> 3;
            __builtin_memcpy(&k->id, part + 4, 4);
        }
        at += next == 44 ? 8 : next == 51 ? (part[1] + 2) * 4 : (part[1] + 1) * 8;
        next = part[0];
        if (k->later) return 0;
    }
    if (n == EXTENSIONS) return MALFORMED;
    k->protocol = next;
    return parse_transport(skb, e, k, at, direction);
}

// ARP between an endpoint and its node. It speaks for itself only.
static inline int judge_arp(struct __sk_buff *skb, struct endpoint *e, u32 at, u32 direction) {
    if (!e) return NEIGHBOUR;
    struct { u16 hardware, protocol; u8 lengths[2]; u16 operation; u8 mac[6]; u8 ip[4]; } __attribute__((packed)) arp;
    if (bpf_skb_load_bytes(skb, at, &arp, sizeof(arp))) return MALFORMED;
    if (direction == INGRESS) return NEIGHBOUR;
    struct ip sender = {};
    __builtin_memcpy(&sender.part[0], arp.ip, 4);
    if (sender.part[0] && !owns(skb->ifindex, e, &sender, 0)) return SPOOFED; // none: it asks whether an address is free (RFC 5227)
    return NEIGHBOUR;
}

// Any packet, whose Ethernet header has `head` bytes. NEIGHBOUR when it passes and belongs to no flow.
static inline int parse(struct __sk_buff *skb, struct endpoint *e, struct packet *k, u32 direction, u32 head) {
    u32 at = head;
    u8 mac[ETH_ALEN];
    if (e && direction == EGRESS && (bpf_skb_load_bytes(skb, ETH_ALEN, mac, ETH_ALEN) || !is_own_mac(e, mac))) return SPOOFED;
    u16 type = skb->protocol;
    for (int tags = 0; tags < 2; tags++) {
        if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD)) break;
        if (bpf_skb_load_bytes(skb, at + 2, &type, 2)) return MALFORMED;
        at += 4;
    }
    if (type == bpf_htons(ETH_P_ARP)) return judge_arp(skb, e, at, direction);
    __builtin_memset(k, 0, sizeof(*k));
    k->length = skb->len - at;
    if (type == bpf_htons(ETH_P_IP)) return parse_v4(skb, e, k, at, direction);
    return type == bpf_htons(ETH_P_IPV6) ? parse_v6(skb, e, k, at, direction) : NOT_IP;
}
