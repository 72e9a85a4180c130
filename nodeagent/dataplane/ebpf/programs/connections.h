// What was allowed goes on, for as long as the policy that allowed it stands: each end that is an endpoint here has its own word in the
// one entry. Two maps: openings forget the oldest (a flood of them
// harms openings only); a connection whose opener has gone on after an answer stays in `connections` until it ends, or nobody has
// spoken for its life.

#define SECOND 1000000000ull
#define TCP_LIFE (7440 * SECOND)  // RFC 5382, REQ-5: not less than 2 hours 4 minutes
#define TCP_OPENING_LIFE (60 * SECOND)
#define TCP_CLOSED_LIFE (10 * SECOND)
#define UDP_LIFE (180 * SECOND)   // RFC 4787, REQ-5: not less than 2 minutes
#define OTHER_LIFE (600 * SECOND)
#define OPENING_LIFE (30 * SECOND)
#define FRAGMENT_LIFE (30 * SECOND) // how long a receiver waits for the rest (Linux: net.ipv4.ipfrag_time)

static inline u64 clock(void) {
#ifdef COARSE
    u64 (*get)(void) = (void *)160; // bpf_ktime_get_coarse_ns, Linux 5.11
    return get();
#else
    return bpf_ktime_get_ns();
#endif
}

static inline int count(u32 reason, int action) {
    u64 *value = counters.lookup(&reason);
    if (value) (*value)++;
    return action;
}

static inline void count_rule(u32 rule_id, u32 length) {
    u32 place = rule_id < COUNTED_RULES ? rule_id : 0;
    struct rule_count *value = rule_counts.lookup(&place);
    if (!value) return;
    value->packets++;
    value->bytes += length;
}

// Whether anybody wants to know of connections that end.
static inline int is_told(void) {
    u32 zero = 0;
    struct settings *wanted = settings.lookup(&zero);
    return wanted && (wanted->events & (1u << EVENT_CLOSED));
}

static inline u32 mixed(struct ip *a) { return (a->part[0] ^ a->part[1] ^ a->part[2] ^ a->part[3]) * 0x9E3779B1u; }

// Who is at an address: 1, or 0 when nobody is known there; -1 when it could not be read.
static inline int take_address(struct address_value *to, u32 space, struct ip *address) {
    struct address_key key = {.space = space, .address = *address};
    for (int n = 0; n < READS; n++) {
        struct address_value *from = addresses.lookup(&key);
        if (!from) return 0;
        struct address_value found = *from;
        if (found.seal == mixed(address) + found.identity * 0x85EBCA6Bu + found.prefix * 0xC2B2AE35u) {
            *to = found;
            return 1;
        }
    }
    return -1;
}

// Tells of a flow, where somebody wants to know; of one at an interface of the node from the node's side. Never waits: what finds no
// room is counted.
static inline void tell(struct walk *w, u32 kind, struct connection *c) {
    u32 zero = 0;
    struct settings *wanted = settings.lookup(&zero);
    if (!wanted || !(wanted->events & (1u << kind))) return;
    if (kind == EVENT_DENIED && wanted->sample > 1 && bpf_get_prandom_u32() % wanted->sample) return;
    struct event *event = events.ringbuf_reserve(sizeof(struct event));
    if (!event) {
        count(EVENT_LOST, 0);
        return;
    }
    struct address_value peer = {.identity = WORLD};
    if (kind == EVENT_CLOSED) take_address(&peer, w->endpoint.bank << 1 | w->packet.is_v6, w->endpoint.flags & IS_NODE ? &w->packet.local : &w->packet.remote); // nobody was judged
    struct packet *k = &w->packet;
    u32 is_node = (w->endpoint.flags & IS_NODE) != 0, mine = (w->mine ^ is_node) & 1, far = mine ^ 1;
    event->at = w->now;
    event->local = is_node ? k->remote : k->local;
    event->remote = is_node ? k->local : k->remote;
    event->local_port = is_node ? k->remote_port : k->local_port;
    event->remote_port = is_node ? k->local_port : k->remote_port;
    event->protocol = w->packet.protocol;
    event->is_v6 = w->packet.is_v6;
    event->ifindex = w->ifindex;
    event->epoch = w->endpoint.epoch;
    event->identity = w->endpoint.identity;
    event->peer = kind == EVENT_CLOSED ? peer.identity : w->peer;
    event->rule_id = w->rule_id;
    event->rtt_us = c->rtt_us;
    event->bytes[INGRESS] = c->bytes[far];
    event->bytes[EGRESS] = c->bytes[mine];
    event->packets[INGRESS] = c->packets[far];
    event->packets[EGRESS] = c->packets[mine];
    event->kind = kind;
    event->reason = w->reason;
    event->direction = c->opener == mine ? EGRESS : INGRESS;
    event->tcp_flags = c->tcp_flags | w->packet.tcp_flags;
    __builtin_memset(event->unused, 0, sizeof(event->unused));
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static inline u64 life_of(u32 protocol, struct connection *c) {
    if (protocol == IPPROTO_TCP) return (c->marks & ENDED) == ENDED ? TCP_CLOSED_LIFE : c->state == ESTABLISHED ? TCP_LIFE : TCP_OPENING_LIFE;
    if (c->state == OPENING) return OPENING_LIFE;
    return protocol == IPPROTO_UDP ? UDP_LIFE : OTHER_LIFE;
}

static inline struct fragment_key fragment_of(struct __sk_buff *skb, struct packet *k, u32 direction) {
    struct fragment_key key = {.ifindex = skb->ifindex, .id = k->id};
    key.source = direction == EGRESS ? k->local : k->remote;
    key.destination = direction == EGRESS ? k->remote : k->local;
    return key;
}

// A fragment that is not the first goes the way of the first.
static inline int follow(struct __sk_buff *skb, struct packet *k, u32 direction, u32 epoch) {
    struct fragment_key key = fragment_of(skb, k, direction);
    struct fragment *first = fragments.lookup(&key);
    // Offset 1 lies within the header that the first was judged by, and could write over it (RFC 1858).
    if (!first || k->later == 1 || first->epoch != epoch || clock() > first->deadline) return count(FRAGMENT, TC_ACT_SHOT);
    return count(ALLOWED, PASS);
}

static inline u32 stamp_of(struct ip *remote) {
    u32 place = mixed(remote) >> 20;
    u32 *stamp = stamps.lookup(&place);
    return stamp ? *stamp : 0;
}

// Whether an end was judged here, by the policy that stands, about who is at the other end's address now.
static inline int is_fresh(struct side *side, u32 ifindex, u32 epoch, u32 stamp) {
    return side->ifindex == ifindex && side->epoch == epoch && side->stamp == stamp;
}

// The endpoint here that an endpoint may hand its packets, past the node's stack; 0: none.
static inline u32 local_of(struct packet *k) {
    struct local_key key = {.is_v6 = k->is_v6, .address = k->remote};
    u32 *ifindex = locals.lookup(&key);
    return ifindex ? *ifindex : 0;
}

// Hands a packet that the sender may send to the endpoint here that it is for, once that may get it: by what the connection's entry says
// of the other end, or by a program that judges as if it came there. Past the stack of the node: half of what a packet costs.
static inline int hand_over(struct __sk_buff *skb, struct walk *w, struct connection *c) {
    struct side *far = &c->sides[(w->mine ^ 1) & 1];
    u32 ifindex = far->ifindex;
    struct endpoint *e = ifindex ? endpoints.lookup(&ifindex) : 0;
    if (e && (e->flags & IS_DIRECT) && is_fresh(far, ifindex, e->epoch, stamp_of(&w->packet.local)) &&
        owns(ifindex, e, &w->packet.remote, w->packet.is_v6)) {
        count_rule(far->rule_id, w->packet.length);
        return count(ALLOWED, bpf_redirect_peer(ifindex, 0));
    }
    w->target = local_of(&w->packet);
    w->is_new = 0;
    if (w->target) steps.call(skb, DELIVER);
    return PASS;
}

// Lets a packet pass; the first of several fragments opens the way for the rest.
static inline int pass(struct __sk_buff *skb, struct walk *w, struct connection *c) {
    count(ALLOWED, PASS);
    if (w->packet.is_usual) {
        if (w->direction == INGRESS) return w->target ? bpf_redirect_peer(w->target, 0) : PASS;
        return c && (c->marks & DIRECT) ? hand_over(skb, w, c) : PASS;
    }
    if (w->packet.is_fragment) {
        struct fragment_key key = fragment_of(skb, &w->packet, w->direction);
        struct fragment first = {.epoch = w->endpoint.epoch, .deadline = w->now + FRAGMENT_LIFE};
        fragments.update(&key, &first);
    }
    return PASS;
}

// What is over makes room at once, also while no agent runs. The entry of its opening, if that is still there, is used again.
static inline void retire(struct walk *w, struct connection *c) {
    w->connection = *c;
    struct connection *opening = openings.lookup(&w->key);
    if (opening) *opening = w->connection;
    else if (openings.update(&w->key, &w->connection)) return;
    connections.delete(&w->key);
}

// One more packet of a connection that may go on.
static inline int go_on(struct __sk_buff *skb, struct walk *w, struct connection *c) {
    struct packet *k = &w->packet;
    u32 mine = w->mine & 1, sender = (w->direction == EGRESS ? mine : mine ^ 1) & 1, was_ended = (c->marks & ENDED) == ENDED;
    struct side *own = &c->sides[mine], *far = &c->sides[mine ^ 1];
    count_rule(own->rule_id, k->length);
    if (w->direction == EGRESS || !far->ifindex) { // else the sender's end has counted it
        c->packets[sender]++;
        c->bytes[sender] += k->length;
    }
    c->tcp_flags |= k->tcp_flags;
    if (k->tcp_flags & (FIN | RST)) {
        c->marks |= k->tcp_flags & RST ? ENDED : 1 << sender;
        if ((c->marks & ENDED) == ENDED && !was_ended) {
            w->rule_id = own->rule_id;
            tell(w, EVENT_CLOSED, c);
        }
    }
    if (c->state == OPENING && sender != c->opener) c->state = ANSWERED;
    u64 until = w->now + life_of(k->protocol, c);
    u32 is_ended = (c->marks & ENDED) == ENDED;
    if (until > c->deadline + SECOND || is_ended) c->deadline = until;
    if (c->state == ANSWERED && sender == c->opener && !w->is_established && k->protocol != IPPROTO_ICMP && k->protocol != ICMP6) {
        c->state = ESTABLISHED;
        if (c->marks & TIMED) c->rtt_us = (bpf_ktime_get_ns() - c->opened_at) / 1000;
        c->deadline = w->now + life_of(k->protocol, c);
        w->connection = *c;
        if (!connections.update(&w->key, &w->connection)) {
            c->deadline = 0; // this one is not believed any more, and goes when it is the oldest
        } else {
            c->state = ANSWERED;
            // Others stay where the oldest goes, and so do those of an interface of the node: it is to be within reach.
        if (k->protocol == IPPROTO_TCP && !(w->endpoint.flags & IS_NODE)) return count(TABLE_FULL, TC_ACT_SHOT);
        }
    } else if (w->is_established && is_ended) {
        retire(w, c);
    }
    return pass(skb, w, c);
}
