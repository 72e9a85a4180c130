// The two programs of an endpoint, on the host side of its veth: from_endpoint (tc ingress: what it sends) and
// to_endpoint (tc egress: what it gets).

static inline u32 stamp_of(struct ip *remote) {
    u32 mixed = remote->part[0] ^ remote->part[1] ^ remote->part[2] ^ remote->part[3];
    u32 place = (mixed * 0x9E3779B1u) >> 20;
    u32 *stamp = stamps.lookup(&place);
    return stamp ? *stamp : 0;
}

static inline int has_own_mac(struct __sk_buff *skb, struct endpoint *e) {
    u8 source[ETH_ALEN];
    if (!(e->mac[0] | e->mac[1] | e->mac[2] | e->mac[3] | e->mac[4] | e->mac[5])) return 1;
    if (bpf_skb_load_bytes(skb, ETH_ALEN, source, ETH_ALEN)) return 0;
    for (int n = 0; n < ETH_ALEN; n++)
        if (source[n] != e->mac[n]) return 0;
    return 1;
}

static inline struct connection *find(struct walk *w) {
    struct connection *c = connections.lookup(&w->key);
    w->is_established = c != 0;
    if (!c) c = openings.lookup(&w->key);
    return c && c->deadline > w->now ? c : 0;
}

static inline int handle(struct __sk_buff *skb, u32 direction) {
    u32 ifindex = skb->ifindex, zero = 0, at = ETH_HLEN;
    struct endpoint *e = endpoints.lookup(&ifindex);
    struct walk *w = walks.lookup(&zero);
    if (!e || !w) return count(UNKNOWN_ENDPOINT, TC_ACT_SHOT);
    if (direction == EGRESS && !has_own_mac(skb, e)) return count(SPOOFED, TC_ACT_SHOT);
    u16 type = skb->protocol;
    for (int tags = 0; tags < 2; tags++) {
        if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD)) break;
        if (bpf_skb_load_bytes(skb, at + 2, &type, 2)) return count(MALFORMED, TC_ACT_SHOT);
        at += 4;
    }
    if (type == bpf_htons(ETH_P_ARP)) {
        u32 wrong = judge_arp(skb, e, at, direction);
        return wrong ? count(wrong, TC_ACT_SHOT) : TC_ACT_OK;
    }
    if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6)) return count(NOT_IP, TC_ACT_SHOT);
    struct packet *k = &w->packet;
    __builtin_memset(k, 0, sizeof(*k));
    k->length = skb->len - at;
    u32 wrong = type == bpf_htons(ETH_P_IP) ? parse_v4(skb, e, k, at, direction) : parse_v6(skb, e, k, at, direction);
    if (wrong) return wrong == NEIGHBOUR ? TC_ACT_OK : count(wrong, TC_ACT_SHOT);
    if (k->later) return follow(skb, k, direction, e->epoch);
    __builtin_memset(&w->key, 0, sizeof(w->key));
    w->key.local = k->local;
    w->key.remote = k->remote;
    w->key.local_port = k->local_port;
    w->key.remote_port = k->remote_port;
    w->key.protocol = k->protocol;
    w->key.is_v6 = k->is_v6;
    w->now = clock();
    w->direction = direction;
    u32 stamp = stamp_of(&k->remote), epoch = e->epoch;
    struct connection *c = find(w);
    if (k->is_about) {
        if (c && c->epoch == epoch && c->stamp == stamp) return count(ALLOWED, TC_ACT_OK);
        return count(DENIED, TC_ACT_SHOT);
    }
    w->reason = DENIED;
    w->endpoint.epoch = epoch;
    w->endpoint.identity = e->identity;
    if (c && k->is_opening && (c->opened != direction || c->closing == 3)) c = 0; // it begins anew
    if (c && c->epoch == epoch && c->stamp == stamp) return go_on(skb, w, c);
    w->endpoint = *e;
    w->is_live = c != 0;
    u32 is_middle = k->protocol == IPPROTO_TCP && !k->is_opening;
    if (c) { // policy, or who is at that address, has changed: judge again as it was opened
        w->connection = *c;
        w->ways = 1 << (c->opened & 1);
        if (k->protocol == IPPROTO_ICMP && k->icmp_type == ICMP_ECHO_REPLY) k->icmp_type = ICMP_ECHO_REQUEST;
        if (k->protocol == ICMP6 && k->icmp_type == ICMP6_ECHO_REPLY) k->icmp_type = ICMP6_ECHO_REQUEST;
    } else {
        __builtin_memset(&w->connection, 0, sizeof(w->connection));
        w->connection.opened = direction;
        w->connection.opened_at = bpf_ktime_get_ns();
        w->connection.packets[direction] = 1;
        w->connection.bytes[direction] = k->length;
        w->connection.tcp_flags = k->tcp_flags;
        w->connection.deadline = w->now + life_of(k->protocol, &w->connection);
        // The middle of a connection that we did not see open: who opened it is unknown, so both ways must be allowed.
        // Otherwise the answer of a server that was just cut off would open the way again.
        w->ways = is_middle ? 3 : 1 << direction;
    }
    w->connection.stamp = stamp;
    return judge(skb, w, ALLOW);
}

int from_endpoint(struct __sk_buff *skb) { return handle(skb, EGRESS); }
int to_endpoint(struct __sk_buff *skb) { return handle(skb, INGRESS); }
