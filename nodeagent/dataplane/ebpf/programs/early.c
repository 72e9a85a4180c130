// What an interface of the node drops at its driver (XDP), before the kernel makes a packet of it: what its list of UNTRACKED denies. It says less
// than from_network and nothing else: what is unusual, could not be read, or is not denied passes, and is judged there.

#define EARLY_CHUNK 128 // rules
#define WALK_EARLY 0 // of `early_steps`

BPF_TABLE("prog", u32, u32, early_steps, 1); // a table holds programs of one kind

// 1: read, as `parse` would have it. Only IP right behind Ethernet, without options, that begins with its transport's header.
static inline int parse_early(struct xdp_md *xdp, struct packet *k) {
    void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end, *transport;
    struct ethhdr *ethernet = data;
    if (data + ETH_HLEN > end) return 0;
    if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
        struct iphdr *ip = data + ETH_HLEN;
        transport = ip + 1;
        if (transport + 8 > end || ip->version != 4 || ip->ihl != 5) return 0;
        if (ip->frag_off & bpf_htons(MORE_FRAGMENTS | FRAGMENT_OFFSET)) return 0;
        k->protocol = ip->protocol;
        k->local.part[0] = ip->saddr;
        k->remote.part[0] = ip->daddr;
    } else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr *ip = data + ETH_HLEN;
        transport = ip + 1;
        if (transport + 8 > end || ip->version != 6) return 0;
        k->protocol = ip->nexthdr;
        k->is_v6 = 1;
        __builtin_memcpy(&k->local, &ip->saddr, 16);
        __builtin_memcpy(&k->remote, &ip->daddr, 16);
        if (is_extension(k->protocol)) return 0;
    } else {
        return 0;
    }
    k->length = end - data - ETH_HLEN;
    u16 *ports = transport;
    u8 *bytes = transport;
    if (k->protocol == IPPROTO_ICMP || k->protocol == ICMP6) {
        k->icmp_type = bytes[0];
        k->icmp_code = bytes[1];
        if ((k->protocol == ICMP6) != k->is_v6 || is_error(k)) return 0;
        return !k->is_v6 || k->icmp_type < ROUTER_SOLICITATION || k->icmp_type > REDIRECT;
    }
    if (!has_ports(k->protocol)) return 1;
    if (k->protocol == IPPROTO_TCP) {
        if (transport + 14 > end) return 0;
        k->tcp_flags = bytes[13];
    }
    set_ports(k, ports[0], ports[1], EGRESS);
    return 1;
}

// Who sent it, and what the list asks of the two ends; 0 when that could not be read.
static inline int take_early(struct walk *w) {
    if (w->host.count[INGRESS] & ASKS_OWN) return take_ends(w);
    if (!take_end(&w->outer, w->host.bank, w->packet.is_v6, &w->packet.local)) return 0;
    w->endpoint.identity = w->outer.identity;
    return take_row(w, &w->row, w->host.bank, &w->outer);
}

static inline int drop_early(struct walk *w) {
    struct packet *k = &w->packet;
    if (is_told()) {
        take_end(&w->inner, w->host.bank, k->is_v6, &k->remote);
        w->peer = w->inner.identity;
        w->mine = set_key(&w->key, k);
        w->now = clock();
        begin(w, w->mine & 1);
    }
    tell_logged(w);
    count_rule(w->rule_id, k->length);
    tell(w, EVENT_DENIED, &w->connection);
    return count(DENIED, XDP_DROP);
}

int deny_early(struct xdp_md *xdp) {
    u32 ifindex = xdp->ingress_ifindex, zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w || take_host(&w->host, ifindex) <= 0) return XDP_PASS;
    struct packet *k = &w->packet;
    __builtin_memset(k, 0, sizeof(*k));
    if (w->host.flags & IS_BARE || !w->host.count[INGRESS] || !parse_early(xdp, k)) return XDP_PASS;
    if (is_lease(k) || is_listening(k)) return XDP_PASS;
    w->ifindex = ifindex;
    w->direction = w->way = EGRESS;
    w->stage = UNTRACKED;
    w->reason = DENIED;
    w->logged = w->behind = w->is_middle = w->is_live = 0;
    stand_for(w);
    if (!take_early(w)) return XDP_PASS;
    int verdict = prepare_stage(w);
    if (verdict == WALK) {
        pass_ports_over(w);
        early_steps.call(xdp, WALK_EARLY);
    }
    return verdict == DENY ? drop_early(w) : XDP_PASS;
}

int walk_early(struct xdp_md *xdp) {
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return XDP_PASS;
    u32 verdict = walk_on(w, EARLY_CHUNK, 1);
    if (verdict == WALK) early_steps.call(xdp, WALK_EARLY);
    return verdict == DENY ? drop_early(w) : XDP_PASS;
}
