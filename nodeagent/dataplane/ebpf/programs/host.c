// The programs of an interface of the node itself: from_network (ingress: what comes in there) and to_network (egress). To connections such
// an interface stands for the end outside: what comes in is what that end sends (EGRESS), and the side that the interface has its word in is that
// end's. So it never meets an endpoint's word, nor another interface's that the packet passes too. `local` is the end outside, `remote` the one on the
// node's side: the node itself, an endpoint of it, or who is behind another interface.

#define HOST_CHUNK 150 // rules: three lists may be asked of a packet, and calls are few
#define NEXT 3 // beside DENY, ALLOW and WALK: the list decides nothing
#define TO_JUDGE 100 // no action: its list is to be asked
enum { UNTRACKED, PRE_DNAT, FORWARD, NORMAL };

// The entry of an interface, whole: 1; 0 when nothing is asked there; -1 when it could not be read.
static inline int take_host(struct host *to, u32 ifindex) {
    int found = 0;
    for (int n = 0; n < READS; n++) {
        struct host *from = hosts.lookup(&ifindex);
        if (!from) continue;
        *to = *from;
        BARRIER;
        if (from->ifindex == ifindex && from->seal == to->epoch && to->seal == to->epoch && to->ifindex == ifindex) return 1;
        found = -1;
    }
    return found;
}

// What the parts that endpoints have too ask of who is judged.
static inline void stand_for(struct walk *w) {
    w->endpoint.bank = w->host.bank;
    w->endpoint.epoch = w->host.epoch;
    w->endpoint.flags = IS_NODE;
}

// The endpoint's interface that a packet comes from which leaves the node, if its source is none of that endpoint's addresses: it was translated.
static inline u32 behind_of(struct __sk_buff *skb, struct walk *w) {
    u32 from = skb->ingress_ifindex, is_behind = 0;
    if (!from || !endpoints.lookup(&from)) return 0;
    if (take_endpoint(&w->endpoint, from)) is_behind = !owns(from, &w->endpoint, &w->packet.remote, w->packet.is_v6);
    stand_for(w);
    return is_behind ? from : 0;
}

static inline struct ip address_of(struct endpoint *e, u32 is_v6) {
    struct ip address = e->address6;
    if (is_v6) return address;
    __builtin_memset(&address, 0, sizeof(address));
    address.part[0] = e->address4;
    return address;
}

// What may have changed at the two ends of a connection.
static inline u32 stamp_between(struct walk *w) {
    struct packet *k = &w->packet;
    u32 stamp = stamp_of(&k->local);
    if (!w->behind) return stamp + stamp_of(&k->remote);
    u32 is_known = take_endpoint(&w->endpoint, w->behind), identity = w->endpoint.identity;
    struct ip address = address_of(&w->endpoint, k->is_v6);
    stand_for(w);
    return is_known ? stamp + stamp_of(&address) + identity * 0x9E3779B1u : ~0u;
}

// Who is at both ends, and their rows; 0 when that could not be read.
static inline int take_ends(struct walk *w) {
    struct packet *k = &w->packet;
    u32 bank = w->host.bank;
    struct ip inner = k->remote;
    u32 identity = 0;
    if (w->behind) {
        if (!take_endpoint(&w->endpoint, w->behind)) return 0;
        inner = address_of(&w->endpoint, k->is_v6);
        identity = w->endpoint.identity;
        stand_for(w);
    }
    if (!take_end(&w->outer, bank, k->is_v6, &k->local) || !take_end(&w->inner, bank, k->is_v6, &inner)) return 0;
    if (identity) w->inner.identity = identity;
    w->endpoint.identity = w->inner.identity; // for events
    w->peer = w->outer.identity;
    return take_row(w, &w->row, bank, &w->outer) && take_row(w, &w->own_row, bank, &w->inner);
}

static inline int is_to_many(struct packet *k) {
    if (k->is_v6) return is_multicast(&k->remote);
    return k->remote.part[0] == 0xffffffff || (k->remote.part[0] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
}

// Whether what comes in goes on to somebody else, as the kernel's routes have it: by its destination as it came, which may be translated yet. What
// would leave by where it came from is taken for the node's own: on its way it may still become that.
static inline u32 goes_on(struct __sk_buff *skb, struct walk *w) {
    struct packet *k = &w->packet;
    if (w->inner.identity == HOST || is_to_many(k)) return 0;
    struct bpf_fib_lookup asked = {};
    asked.ifindex = w->ifindex;
    asked.l4_protocol = k->protocol;
    if (k->is_v6) {
        asked.family = 10; // AF_INET6
        __builtin_memcpy(asked.ipv6_src, &k->local, 16);
        __builtin_memcpy(asked.ipv6_dst, &k->remote, 16);
    } else {
        asked.family = 2; // AF_INET
        asked.ipv4_src = k->local.part[0];
        asked.ipv4_dst = k->remote.part[0];
    }
    int found = bpf_fib_lookup(skb, &asked, sizeof(asked), 0);
    if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH && found != BPF_FIB_LKUP_RET_FRAG_NEEDED &&
        found != BPF_FIB_LKUP_RET_UNSUPP_LWT)
        return 0;
    return asked.ifindex != w->ifindex;
}

// Prepares the walk of a stage's list for a connection opened in w->way: what is known at once, else WALK.
static inline int prepare_stage(struct walk *w) {
    struct host *h = &w->host;
    struct packet *k = &w->packet;
    u32 list = (w->stage * 2 + (w->way == EGRESS ? INGRESS : EGRESS)) & (HOST_LISTS - 1), total = h->count[list];
    w->at = 0;
    w->rule_id = 0;
    w->start = h->start[list];
    w->size = total & COUNT_MASK;
    if (!total) return NEXT;
    w->source = w->way == EGRESS ? k->local_port : k->remote_port;
    w->destination = w->way == EGRESS ? k->remote_port : k->local_port;
    w->transport = k->protocol == IPPROTO_ICMP || k->protocol == ICMP6 ? 1 : has_ports(k->protocol) ? 2 : 0;
    w->is_summarized = (total & IS_SUMMARIZED) != 0;
    w->is_cached = (total & IS_CACHEABLE) && w->size >= CACHE_FROM && !w->is_middle; // of those it matters which rule it is
    if (!w->is_cached) return WALK;
    struct verdict_key vk = {.start = w->start, .identity = w->outer.identity, .prefix = w->outer.prefix, .epoch = h->epoch,
                             .bank = h->bank, .port = w->destination, .protocol = k->protocol};
    u64 *cached = verdicts.lookup(&vk);
    w->cached = vk;
    if (!cached) return WALK;
    w->rule_id = *cached >> 1;
    return !(*cached & 1) ? DENY : w->rule_id ? ALLOW : NEXT;
}

// Of a list of UNTRACKED: begins behind the first rules that ask for ports, when none of them can match. What lets failsafe ports pass is asked of
// every packet that is denied, and this costs a third of walking there.
static inline void pass_ports_over(struct walk *w) {
    u32 total = w->way == EGRESS ? w->host.count[INGRESS] : w->host.count[EGRESS];
    u32 size = (total >> PORTS_SHIFT) & PORTS_MASK, hits = 0;
    for (u32 n = 0; n < PORTS_MASK && n < size; n++) {
        u32 index = w->start + n;
        struct rule *r = rules.lookup(&index);
        if (!r) return;
        hits |= 1 & ~(differs(r->protocol, w->packet.protocol) | outside(w->source, r->source_low, r->source_high) |
                      outside(w->destination, r->destination_low, r->destination_high));
    }
    if (!hits) w->at = size;
}

// What is to be known of a connection when it is judged again.
static inline void note(struct connection *c, struct walk *w) {
    u32 mine = w->mine & 1;
    struct side *far = &c->sides[mine ^ 1];
    c->marks = (c->marks & ~(1 << (PASSED_ON + mine))) | w->is_passing << (PASSED_ON + mine);
    if (!far->ifindex) far->stamp = w->behind; // nobody's word
}

static inline int finish_host(struct __sk_buff *skb, struct walk *w, int verdict) {
    if (verdict != ALLOW) return finish(skb, w, DENY);
    note(&w->connection, w);
    struct connection *standing = 0;
    if (w->is_found) standing = w->is_established ? connections.lookup(&w->key) : openings.lookup(&w->key);
    if (standing) note(standing, w);
    return finish(skb, w, ALLOW);
}

// Whether a list's verdict is that of one of its first rules, which let failsafe ports pass.
static inline int is_failsafe(struct walk *w, int verdict) {
    return verdict == ALLOW && w->stage == NORMAL && w->way == EGRESS && w->at && w->at <= w->host.flags >> SAFE_SHIFT;
}

// Asks what is left, stage by stage and way by way, as far as that goes without walking; then walks. Of the middle of a connection to a
// failsafe port only that way is asked: who is logged in when a host is first policed stays.
static inline int judge_host(struct __sk_buff *skb, struct walk *w, int verdict) {
    for (int round = 0; round < 6; round++) {
        if (verdict == NEXT && w->stage == PRE_DNAT) {
            w->stage = w->is_passing ? FORWARD : NORMAL;
        } else {
            if (w->is_middle && is_failsafe(w, verdict)) {
                if (!w->is_live) w->connection.opener = w->mine & 1;
                break;
            }
            if (verdict == NEXT) verdict = ALLOW; // the end of the last list
            if (verdict != ALLOW || !w->ways) break;
            w->way = w->ways & 2 ? EGRESS : INGRESS;
            w->ways &= w->way == EGRESS ? 1 : 0;
            w->stage = w->way == EGRESS ? PRE_DNAT : w->is_passing ? FORWARD : NORMAL;
        }
        verdict = prepare_stage(w);
    }
    if (verdict == WALK) {
        steps.call(skb, WALK_HOST);
        w->reason = TOO_LONG;
    }
    return finish_host(skb, w, verdict);
}

// A packet that nobody keeps from being tracked: goes on if its connection may, else is to be judged.
static inline int meet_host(struct __sk_buff *skb, struct walk *w) {
    struct packet *k = &w->packet;
    u32 mine = w->mine & 1, direction = w->direction, sender = (direction == EGRESS ? mine : mine ^ 1) & 1;
    u32 ifindex = w->ifindex, epoch = w->host.epoch, is_live, stamp;
    struct connection *c = find(w);
    w->is_middle = k->protocol == IPPROTO_TCP && !k->is_opening;
    w->behind = direction == INGRESS ? behind_of(skb, w) : 0;
    w->is_passing = direction == INGRESS && skb->ingress_ifindex;
    if (c && !k->is_about) {
        if (k->is_opening && (c->opener != sender || (c->marks & ENDED) == ENDED)) c = 0; // it begins anew
        else if (!w->is_middle && c->opener != sender && c->sides[mine].ifindex != ifindex) c = 0; // as at an endpoint
    }
    is_live = c && c->sides[mine].ifindex == ifindex;
    if (is_live) {
        struct side *far = &c->sides[mine ^ 1];
        u32 behind = far->ifindex ? 0 : far->stamp, is_passing = (c->marks >> (PASSED_ON + mine)) & 1;
        if (direction == INGRESS && sender == c->opener && !k->is_about && (behind != w->behind || is_passing != w->is_passing)) {
            c = 0; // translated addresses and ports are somebody else's now
            is_live = 0;
        } else {
            w->behind = behind;
            w->is_passing = is_passing;
        }
    }
    stamp = stamp_between(w);
    if (k->is_about) {
        if (is_live && is_fresh(&c->sides[mine], ifindex, epoch, stamp)) return count(ALLOWED, PASS);
        return count(DENIED, TC_ACT_SHOT);
    }
    if (is_live && is_fresh(&c->sides[mine], ifindex, epoch, stamp)) return go_on(skb, w, c);
    w->stamp = stamp;
    w->is_found = c != 0;
    w->is_live = is_live;
    w->ways = w->is_middle ? 3 : 1 << direction; // see `meet`
    if (c) w->connection = *c;
    else begin(w, sender);
    if (is_live) {
        w->ways = w->connection.opener == mine ? 1 << EGRESS : 1 << INGRESS;
        if (k->protocol == IPPROTO_ICMP && k->icmp_type == ICMP_ECHO_REPLY) k->icmp_type = ICMP_ECHO_REQUEST;
        if (k->protocol == ICMP6 && k->icmp_type == ICMP6_ECHO_REPLY) k->icmp_type = ICMP6_ECHO_REQUEST;
    }
    w->stage = PRE_DNAT;
    return TO_JUDGE;
}

// A packet that an untracked list decides: nobody remembers it.
static inline int finish_untracked(struct __sk_buff *skb, struct walk *w, int verdict) {
    u32 mine = w->mine & 1;
    begin(w, (w->direction == EGRESS ? mine : mine ^ 1) & 1);
    w->is_live = 0;
    if (verdict != ALLOW) return finish(skb, w, DENY);
    tell_logged(w);
    count_rule(w->rule_id, w->packet.length);
    return pass(skb, w, 0);
}

// Goes on with what the untracked list has said.
static inline int proceed(struct __sk_buff *skb, struct walk *w, int verdict) {
    if (verdict == WALK) {
        steps.call(skb, WALK_HOST);
        w->reason = TOO_LONG;
    }
    if (verdict != NEXT) return finish_untracked(skb, w, verdict);
    int action = meet_host(skb, w);
    if (action != TO_JUDGE) return action;
    w->said = WALK;
    steps.call(skb, ASK_HOST);
    w->reason = TOO_LONG;
    return finish(skb, w, DENY);
}

// An address is leased to the node (DHCP): nobody is to be without one.
static inline int is_lease(struct packet *k) {
    if (k->protocol != IPPROTO_UDP || k->later) return 0;
    return k->is_v6 ? k->local_port == 547 && k->remote_port == 546 : k->local_port == 67 && k->remote_port == 68;
}

// Who listens to which groups (MLD): neighbours' messages, like those that `parse` lets pass.
static inline int is_listening(struct packet *k) {
    return k->protocol == ICMP6 && ((k->icmp_type >= 130 && k->icmp_type <= 132) || k->icmp_type == 143);
}

static inline int handle_host(struct __sk_buff *skb, u32 direction) {
    u32 ifindex = skb->ifindex, zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return count(UNKNOWN_ENDPOINT, TC_ACT_SHOT);
    int known = take_host(&w->host, ifindex);
    if (!known) return PASS; // nothing is asked here
    if (known < 0) return count(UNKNOWN_ENDPOINT, TC_ACT_SHOT);
    if (skb->vlan_present && (skb->vlan_tci & 0xfff)) return PASS; // the VLAN's own interface is asked, or nobody gets it
    struct packet *k = &w->packet;
    __builtin_memset(k, 0, sizeof(*k));
    u32 head = w->host.flags & IS_BARE ? 0 : ETH_HLEN;
    u32 wrong = parse_usual(skb, 0, k, direction, head);
    if (wrong == NOT_USUAL) wrong = parse(skb, 0, k, direction, head);
    if (wrong) return wrong == NEIGHBOUR || wrong == NOT_IP ? PASS : count(wrong, TC_ACT_SHOT);
    if (is_listening(k)) return PASS;
    k->is_usual = 0; // no packet is handed past the stack here
    w->ifindex = ifindex;
    w->direction = direction;
    w->mine = set_key(&w->key, k);
    w->now = clock();
    w->target = 0;
    w->reason = DENIED;
    w->logged = w->is_middle = w->is_live = w->endpoint.identity = 0;
    stand_for(w);
    if (is_lease(k)) {
        if (direction == INGRESS ? !skb->ingress_ifindex : take_end(&w->inner, w->host.bank, k->is_v6, &k->remote) && !goes_on(skb, w))
            return PASS;
    }
    if (k->later) return follow(skb, k, direction, w->host.epoch);
    w->stage = UNTRACKED;
    w->way = k->is_about ? direction ^ 1 : direction; // an error goes with what it is about
    int verdict = NEXT;
    if (w->host.count[INGRESS] | w->host.count[EGRESS]) {
        w->behind = direction == INGRESS ? behind_of(skb, w) : 0;
        verdict = take_ends(w) ? prepare_stage(w) : DENY;
        if (verdict == WALK) pass_ports_over(w);
    }
    return proceed(skb, w, verdict);
}

int from_network(struct __sk_buff *skb) { return handle_host(skb, EGRESS); }
int to_network(struct __sk_buff *skb) { return handle_host(skb, INGRESS); }

// Where those go on for a packet that has to be judged, and once a list was walked.
int ask_host(struct __sk_buff *skb) {
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return TC_ACT_SHOT;
    int verdict = w->said;
    if (verdict != WALK) return w->stage == UNTRACKED ? proceed(skb, w, verdict) : judge_host(skb, w, verdict);
    if (!take_ends(w)) return finish(skb, w, DENY);
    if (!w->is_live && w->direction == EGRESS) w->is_passing = goes_on(skb, w);
    return judge_host(skb, w, ALLOW);
}

int walk_host(struct __sk_buff *skb) {
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return TC_ACT_SHOT;
    u32 verdict = walk_on(w, HOST_CHUNK, 1);
    if (verdict == WALK) {
        steps.call(skb, WALK_HOST);
        verdict = DENY;
    }
    w->said = verdict == ALLOW && !w->rule_id ? NEXT : verdict;
    steps.call(skb, ASK_HOST); // not here: the verifier would follow all that for every round of the walk
    return count(TOO_LONG, TC_ACT_SHOT);
}
