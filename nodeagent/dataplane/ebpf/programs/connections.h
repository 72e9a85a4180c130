// What was allowed goes on, for as long as the policy that allowed it stands. Two maps: openings forget the oldest (a flood of them
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

// Tells of a flow, where somebody wants to know. Never waits: what finds no room is counted.
static inline void tell(struct __sk_buff *skb, struct walk *w, u32 kind, struct connection *c) {
    u32 zero = 0;
    struct settings *wanted = settings.lookup(&zero);
    if (!wanted || !(wanted->events & (1u << kind))) return;
    if (kind == EVENT_DENIED && wanted->sample > 1 && bpf_get_prandom_u32() % wanted->sample) return;
    struct event *event = events.ringbuf_reserve(sizeof(struct event));
    if (!event) {
        count(EVENT_LOST, 0);
        return;
    }
    event->at = w->now;
    event->local = w->packet.local;
    event->remote = w->packet.remote;
    event->local_port = w->packet.local_port;
    event->remote_port = w->packet.remote_port;
    event->protocol = w->packet.protocol;
    event->is_v6 = w->packet.is_v6;
    event->ifindex = skb->ifindex;
    event->epoch = w->endpoint.epoch;
    event->identity = w->endpoint.identity;
    event->peer = w->peer;
    event->rule_id = c->rule_id;
    event->rtt_us = c->rtt_us;
    event->bytes[0] = c->bytes[0];
    event->bytes[1] = c->bytes[1];
    event->packets[0] = c->packets[0];
    event->packets[1] = c->packets[1];
    event->kind = kind;
    event->reason = w->reason;
    event->direction = c->opened;
    event->tcp_flags = c->tcp_flags | w->packet.tcp_flags;
    __builtin_memset(event->unused, 0, sizeof(event->unused));
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static inline u64 life_of(u32 protocol, struct connection *c) {
    if (protocol == IPPROTO_TCP) return c->closing == 3 ? TCP_CLOSED_LIFE : c->state == ESTABLISHED ? TCP_LIFE : TCP_OPENING_LIFE;
    if (c->state == OPENING) return OPENING_LIFE;
    return protocol == IPPROTO_UDP ? UDP_LIFE : OTHER_LIFE;
}

static inline struct fragment_key fragment_of(struct __sk_buff *skb, struct packet *k, u32 direction) {
    struct fragment_key key = {.ifindex = skb->ifindex, .id = k->id};
    key.source = direction == EGRESS ? k->local : k->remote;
    key.destination = direction == EGRESS ? k->remote : k->local;
    return key;
}

// Lets a packet pass; the first of several fragments opens the way for the rest.
static inline int pass(struct __sk_buff *skb, struct walk *w) {
    if (w->packet.is_fragment) {
        struct fragment_key key = fragment_of(skb, &w->packet, w->direction);
        struct fragment first = {.epoch = w->endpoint.epoch, .deadline = w->now + FRAGMENT_LIFE};
        fragments.update(&key, &first);
    }
    return count(ALLOWED, TC_ACT_OK);
}

// A fragment that is not the first goes the way of the first.
static inline int follow(struct __sk_buff *skb, struct packet *k, u32 direction, u32 epoch) {
    struct fragment_key key = fragment_of(skb, k, direction);
    struct fragment *first = fragments.lookup(&key);
    // Offset 1 lies within the header that the first was judged by, and could write over it (RFC 1858).
    if (!first || k->later == 1 || first->epoch != epoch || clock() > first->deadline) return count(FRAGMENT, TC_ACT_SHOT);
    return count(ALLOWED, TC_ACT_OK);
}

// One more packet of a connection that may go on.
static inline int go_on(struct __sk_buff *skb, struct walk *w, struct connection *c) {
    struct packet *k = &w->packet;
    u32 direction = w->direction & 1, closing = c->closing;
    c->packets[direction]++;
    c->bytes[direction] += k->length;
    c->tcp_flags |= k->tcp_flags;
    if (k->tcp_flags & (FIN | RST)) {
        c->closing |= k->tcp_flags & RST ? 3 : 1 << direction;
        if (c->closing == 3 && closing != 3) tell(skb, w, EVENT_CLOSED, c);
    }
    if (c->state == OPENING && direction != c->opened) c->state = ANSWERED;
    u64 until = w->now + life_of(k->protocol, c);
    if (until > c->deadline + SECOND || c->closing == 3) c->deadline = until;
    count_rule(c->rule_id, k->length);
    if (c->state == ANSWERED && direction == c->opened && !w->is_established && k->protocol != IPPROTO_ICMP && k->protocol != ICMP6) {
        c->state = ESTABLISHED;
        c->rtt_us = (bpf_ktime_get_ns() - c->opened_at) / 1000;
        c->deadline = w->now + life_of(k->protocol, c);
        w->connection = *c;
        if (!connections.update(&w->key, &w->connection)) {
            openings.delete(&w->key);
            return pass(skb, w);
        }
        c->state = ANSWERED;
        if (k->protocol == IPPROTO_TCP) return count(TABLE_FULL, TC_ACT_SHOT); // others stay where the oldest goes
    } else if (w->is_established && c->closing == 3) { // what is over makes room at once, also while no agent runs
        w->connection = *c;
        if (!openings.update(&w->key, &w->connection)) connections.delete(&w->key);
    }
    return pass(skb, w);
}
