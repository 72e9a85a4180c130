// The programs of an endpoint, on the host side of its veth: from_endpoint (ingress of the interface: what it sends) and to_endpoint
// (egress: what it gets from the node's stack). What goes from one endpoint of the node to another need not meet the second.

static inline u32 is_greater(struct ip *a, struct ip *b) {
    for (int n = 0; n < 4; n++)
        if (a->part[n] != b->part[n]) return a->part[n] > b->part[n];
    return 0;
}

// The connection's key, the same from both ends; gives the side of the packet's local end.
static inline u32 set_key(struct connection_key *key, struct packet *k) {
    u32 mine = is_same(&k->local, &k->remote) ? k->local_port > k->remote_port : is_greater(&k->local, &k->remote);
    key->low = mine ? k->remote : k->local;
    key->high = mine ? k->local : k->remote;
    key->low_port = mine ? k->remote_port : k->local_port;
    key->high_port = mine ? k->local_port : k->remote_port;
    key->protocol = k->protocol;
    key->is_v6 = k->is_v6;
    key->unused = 0;
    return mine;
}

static inline struct connection *find(struct walk *w) {
    struct connection *c = connections.lookup(&w->key);
    w->is_established = c != 0;
    if (!c) c = openings.lookup(&w->key);
    return c && c->deadline > w->now ? c : 0;
}

// A connection that nobody knows yet.
static inline void begin(struct walk *w, u32 sender) {
    struct packet *k = &w->packet;
    struct connection *c = &w->connection;
    __builtin_memset(c, 0, sizeof(*c));
    c->opener = sender;
    c->opened_at = w->now;
    c->packets[sender & 1] = 1;
    c->bytes[sender & 1] = k->length;
    c->tcp_flags = k->tcp_flags;
    c->deadline = w->now + life_of(k->protocol, c);
    if (k->protocol == IPPROTO_TCP && is_told()) { // exact time is dear, and only they want it
        c->opened_at = bpf_ktime_get_ns();
        c->marks = TIMED;
    }
}

// A packet that was read, at an endpoint: goes on if its connection may, else is judged.
static inline int meet(struct __sk_buff *skb, struct walk *w, u32 ifindex, u32 direction) {
    struct packet *k = &w->packet;
    u32 mine = w->mine & 1, sender = (direction == EGRESS ? mine : mine ^ 1) & 1;
    u32 stamp = stamp_of(&k->remote), epoch = w->endpoint.epoch;
    w->ifindex = ifindex;
    w->direction = direction;
    struct connection *c = find(w);
    if (k->is_about) {
        if (c && is_fresh(&c->sides[mine], ifindex, epoch, stamp)) return count(ALLOWED, PASS);
        return count(DENIED, TC_ACT_SHOT);
    }
    w->reason = DENIED;
    w->is_middle = k->protocol == IPPROTO_TCP && !k->is_opening;
    if (c && k->is_opening && (c->opener != sender || (c->marks & ENDED) == ENDED)) c = 0; // it begins anew
    // An answer from, or to, an end that never let the opening through answers nothing: it opens a connection itself.
    if (c && !w->is_middle && c->opener != sender && c->sides[mine].ifindex != ifindex) c = 0;
    if (c && is_fresh(&c->sides[mine], ifindex, epoch, stamp)) return go_on(skb, w, c);
    w->stamp = stamp;
    w->is_found = c != 0;
    w->is_live = c && c->sides[mine].ifindex == ifindex;
    // The middle of a connection that we did not see open: who opened it is unknown, so both ways must be allowed. Otherwise the answer
    // of a server that was just cut off would open the way again.
    w->ways = w->is_middle ? 3 : 1 << direction;
    if (c) w->connection = *c;
    else begin(w, sender);
    if (w->is_live) { // policy, or who is at that address, has changed: judge again as it was opened
        w->ways = w->connection.opener == mine ? 1 << EGRESS : 1 << INGRESS;
        if (k->protocol == IPPROTO_ICMP && k->icmp_type == ICMP_ECHO_REPLY) k->icmp_type = ICMP_ECHO_REQUEST;
        if (k->protocol == ICMP6 && k->icmp_type == ICMP6_ECHO_REPLY) k->icmp_type = ICMP6_ECHO_REQUEST;
    }
    return judge(skb, w, ALLOW);
}

static inline int handle(struct __sk_buff *skb, u32 direction) {
    u32 ifindex = skb->ifindex, zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w || !take_endpoint(&w->endpoint, ifindex)) return count(UNKNOWN_ENDPOINT, TC_ACT_SHOT);
    struct endpoint *e = &w->endpoint;
    struct packet *k = &w->packet;
    __builtin_memset(k, 0, sizeof(*k));
    u32 wrong = parse_usual(skb, e, k, direction, ETH_HLEN);
    if (wrong == NOT_USUAL) wrong = parse(skb, e, k, direction, ETH_HLEN);
    if (wrong) return wrong == NEIGHBOUR ? PASS : count(wrong, TC_ACT_SHOT);
    if (k->later) return follow(skb, k, direction, e->epoch);
    w->mine = set_key(&w->key, k);
    w->now = clock();
    w->target = 0;
    return meet(skb, w, ifindex, direction);
}

int from_endpoint(struct __sk_buff *skb) { return handle(skb, EGRESS); }
int to_endpoint(struct __sk_buff *skb) { return handle(skb, INGRESS); }

// Where from_endpoint goes on for a packet that the sender may send, and the endpoint `target` is to get: the same, from its side.
int deliver(struct __sk_buff *skb) {
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return TC_ACT_SHOT;
    struct packet *k = &w->packet;
    u32 ifindex = w->target;
    struct endpoint *e = &w->endpoint;
    if (!take_endpoint(e, ifindex) || !(e->flags & IS_DIRECT) || !owns(ifindex, e, &k->remote, k->is_v6)) { // by the stack
        if (!w->is_new) return PASS;
        w->connection.marks &= ~DIRECT;
        return remember(skb, w);
    }
    struct ip address = k->local;
    u16 port = k->local_port;
    k->local = k->remote;
    k->local_port = k->remote_port;
    k->remote = address;
    k->remote_port = port;
    w->mine ^= 1;
    if (!w->is_new) return meet(skb, w, ifindex, INGRESS);
    w->ifindex = ifindex;
    w->direction = INGRESS;
    w->stamp = stamp_of(&k->remote);
    w->ways = 1 << INGRESS;
    return judge(skb, w, ALLOW);
}
