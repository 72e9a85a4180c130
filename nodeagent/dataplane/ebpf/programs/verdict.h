// From a packet to a verdict: the peer's row of bits against the list of the endpoint's class.

#define CHUNK 128 // rules that one program looks at, or blocks that it passes over; then it calls itself
#define GROUP 8 // blocks whose summaries are looked at together, before their rules: twice CHUNK
#define CACHE_FROM 40
enum { DENY, ALLOW, WALK }; // verdicts; of rules, from GOES_ON on the walk goes on
#define GOES_ON 2
#define LOG 3

// Arithmetic instead of branches below: the verifier follows both ways of every branch of every round of the walk, and
// gives up at 8,192 that wait. Each gives 1 or 0.
static inline u32 differs(u32 a, u32 b) { u32 x = a ^ b; return (x | -x) >> 31; }
static inline u32 outside(u32 value, u32 low, u32 high) { return ((value - low) | (high - value)) >> 31; }
static inline u32 lacks(u64 *words, u16 bit) { return (~(words[(bit >> 6) & (ROW_WORDS - 1)] >> (bit & 63))) & 1; }

// `transport`: 1 for ICMP, 2 for a protocol with ports, else 0. `has_own`: a rule may ask the row that is behind `row`.
static inline u32 misses(struct rule *r, struct row *row, struct packet *k, u32 transport, u32 ports, u32 has_own) {
    u32 f = r->flags, source = ports >> 16, destination = ports & 0xffff;
    u64 *words = row->words + (has_own ? (r->is_own & 1) * (sizeof(struct row) / 8) : 0); // its neighbour in struct walk
    u32 miss = ((f >> 4) & lacks(words, r->bit)) | ((f >> 5) & lacks(words, r->net_bit));
    miss |= ((f >> 6) & (lacks(words, r->not_bit) ^ 1)) | ((f >> 7) & (lacks(words, r->not_net_bit) ^ 1));
    miss |= differs(r->protocol, 0) & (differs(r->protocol, k->protocol) ^ f);
    u32 other_icmp = (differs(r->icmp_type, 0xffff) & differs(r->icmp_type, k->icmp_type)) |
                     (differs(r->icmp_code, 0xffff) & differs(r->icmp_code, k->icmp_code));
    miss |= (f >> 1) & (differs(transport, 1) | (other_icmp ^ (f >> 2)));
    miss |= (f >> 3) & (differs(transport, 2) | outside(source, r->source_low, r->source_high) |
                        outside(destination, r->destination_low, r->destination_high));
    return miss & 1;
}

// Who is at an address, and the prefix around it; 0 when it could not be read.
static inline int take_end(struct address_value *to, u32 bank, u32 is_v6, struct ip *address) {
    u32 space = bank << 1 | is_v6;
    to->identity = WORLD;
    to->prefix = 0;
    int known = take_address(to, space, address);
    if (known < 0) return 0;
    if (!known) {
        struct prefix_key key = {.length = is_v6 ? 160 : 64, .space = space, .address = *address};
        u32 *prefix = prefixes.lookup(&key);
        if (prefix) to->prefix = *prefix;
    }
    return 1;
}

// Adds the row of an identity, or of a prefix, to one of the walk's; 0 when it could not be read. None is an empty one.
static inline int add_row(struct walk *w, struct row *to, u32 bank, u32 number, u32 is_prefix) {
    struct row_key key = {.bank = bank, .number = number};
    for (int n = 0; n < READS; n++) {
        struct row *from = is_prefix ? prefix_rows.lookup(&key) : identity_rows.lookup(&key);
        if (!from) return 1;
        u64 seal = ((u64)number << 32 | bank) * 0x9E3779B1ull;
#pragma unroll
        for (int word = 0; word < ROW_WORDS; word++) {
            w->found.words[word] = from->words[word];
            seal += w->found.words[word] * (2 * word + 1);
        }
        if (from->seal != seal) continue;
#pragma unroll
        for (int word = 0; word < ROW_WORDS; word++) to->words[word] |= w->found.words[word];
        return 1;
    }
    return 0;
}

// The row of an end; 0 when it could not be read.
static inline int take_row(struct walk *w, struct row *to, u32 bank, struct address_value *end) {
    __builtin_memset(to, 0, sizeof(*to));
    if (!add_row(w, to, bank, end->identity, 0)) return 0;
    return !end->prefix || add_row(w, to, bank, end->prefix, 1);
}

// Prepares the walk of the endpoint's list for a connection opened in `way`: ALLOW or DENY when that is known at once.
static inline int prepare(struct walk *w, u32 way) {
    struct endpoint *e = &w->endpoint;
    struct packet *k = &w->packet;
    u32 total = way ? e->count[1] : e->count[0];
    w->way = way;
    w->at = 0;
    w->rule_id = w->logged = 0;
    w->start = way ? e->start[1] : e->start[0];
    w->size = total & COUNT_MASK;
    struct address_value peer;
    if (!take_end(&peer, e->bank, k->is_v6, &k->remote)) return DENY;
    w->peer = peer.identity;
    if (peer.identity == HOST && way == INGRESS) return ALLOW;
    if (total == 0) return ALLOW;
    w->source = way == EGRESS ? k->local_port : k->remote_port;
    w->destination = way == EGRESS ? k->remote_port : k->local_port;
    w->transport = k->protocol == IPPROTO_ICMP || k->protocol == ICMP6 ? 1 : has_ports(k->protocol) ? 2 : 0;
    w->is_summarized = (total & IS_SUMMARIZED) != 0;
    w->is_cached = (total & IS_CACHEABLE) && w->size >= CACHE_FROM;
    if (w->is_cached) {
        struct verdict_key vk = {.start = w->start, .identity = peer.identity, .prefix = peer.prefix, .epoch = e->epoch,
                                 .bank = e->bank, .port = w->destination, .protocol = k->protocol};
        u64 *cached = verdicts.lookup(&vk);
        if (cached) {
            w->rule_id = *cached >> 1;
            return *cached & 1 ? ALLOW : DENY;
        }
        w->cached = vk;
    }
    // One merged row: half the work per rule.
    return take_row(w, &w->row, e->bank, &peer) ? WALK : DENY;
}

// A connection that may be opened.
static inline int remember(struct __sk_buff *skb, struct walk *w) {
    if (openings.update(&w->key, &w->connection)) return count(TABLE_FULL, TC_ACT_SHOT);
    if (w->is_established) connections.delete(&w->key); // it was over
    return pass(skb, w, &w->connection);
}

// Tells of the last rule that logs of those that were met.
static inline void tell_logged(struct walk *w) {
    if (!w->logged) return;
    u32 rule_id = w->rule_id;
    w->rule_id = w->logged;
    count_rule(w->logged, w->packet.length);
    tell(w, EVENT_LOGGED, &w->connection);
    w->rule_id = rule_id;
}

// Ends the judging of a packet: remembers or forgets its connection.
static inline int finish(struct __sk_buff *skb, struct walk *w, int verdict) {
    struct packet *k = &w->packet;
    struct connection *c = &w->connection, *standing = 0;
    u32 mine = w->mine & 1;
    tell_logged(w);
    struct side own = {.ifindex = w->ifindex, .epoch = w->endpoint.epoch, .stamp = w->stamp, .rule_id = w->rule_id};
    if (verdict == DENY) {
        count_rule(w->rule_id, k->length);
        if (w->is_live) {
            connections.delete(&w->key);
            openings.delete(&w->key);
        }
        tell(w, w->is_live ? EVENT_CUT : EVENT_DENIED, c);
        return count(w->is_live ? CUT : w->reason, TC_ACT_SHOT);
    }
    if (w->is_found) standing = w->is_established ? connections.lookup(&w->key) : openings.lookup(&w->key);
    if (standing) {
        standing->sides[mine] = own;
        if (!w->is_live) tell(w, EVENT_OPENED, c);
        return go_on(skb, w, standing);
    }
    count_rule(w->rule_id, k->length);
    if ((k->protocol == IPPROTO_ICMP || k->protocol == ICMP6) && !k->is_opening) return pass(skb, w, 0); // an answer opens nothing
    c->sides[mine] = own;
    tell(w, EVENT_OPENED, c);
    if (w->direction == EGRESS && k->is_usual && (w->endpoint.flags & IS_DIRECT) && !w->is_middle) {
        w->target = local_of(k);
        c->marks |= DIRECT;
        w->is_new = 1;
        if (w->target) steps.call(skb, DELIVER); // it is remembered once the other end lets it in
        c->marks &= ~DIRECT;
    }
    return remember(skb, w);
}

// Judges the ways that are left, as far as that goes without walking; then walks.
static inline int judge(struct __sk_buff *skb, struct walk *w, int verdict) {
    for (int round = 0; round < 2 && verdict == ALLOW && w->ways; round++) {
        u32 way = w->ways & 1 ? INGRESS : EGRESS;
        w->ways &= way == INGRESS ? 2 : 0;
        verdict = prepare(w, way);
    }
    if (verdict == WALK) {
        steps.call(skb, WALK_RULES);
        w->reason = TOO_LONG; // calls are used up: closed
        verdict = DENY;
    }
    return finish(skb, w, verdict);
}

// 1 when no rule of a block can match a row. Arithmetic as above.
static inline u32 is_passed_over(struct summary *s, struct row *row) {
    u64 common = 0, missing = ~s->words[0]; // a block that asks nothing of a peer has all bits, and a row may have none
#pragma unroll
    for (int word = 0; word < ROW_WORDS; word++) common |= s->words[word] & row->words[word];
    return (u32)((((common | -common) >> 63) ^ 1) & ((missing | -missing) >> 63));
}

// The blocks of the group from `first` that are passed over, a bit for each; all of the list's others are walked.
static inline u32 passed_over(struct walk *w, u32 first) {
    u32 passed = 0, base = w->start / BLOCK + first;
    for (u32 n = 0; n < GROUP; n++) {
        u32 block = base + n;
        struct summary *s = summaries.lookup(&block);
        if (!s) break; // beyond the last one: none of this list's
        passed |= is_passed_over(s, &w->row) << n;
    }
    return passed;
}

// Walks on in the list, `chunk` rules at most: WALK when more are left. Its end allows, by no rule.
static inline u32 walk_on(struct walk *w, int chunk, u32 has_own) {
    u32 at = w->at, start = w->start, size = w->size, ports = ((u32)w->source << 16) | w->destination;
    u32 verdict = WALK, transport = w->transport, logged = w->logged, end = size, passed = 0;
    if (!has_own && w->is_summarized) {
        u32 first = at / (BLOCK * GROUP) * GROUP;
        passed = passed_over(w, first);
        if (size > (first + GROUP) * BLOCK) end = (first + GROUP) * BLOCK;
    }
    for (int n = 0; n < chunk; n++) {
        if (at >= end) {
            if (at >= size) verdict = ALLOW; // every tier passed
            break;
        }
        u32 index = start + at;
        if (!has_own && !(at % BLOCK) && (passed >> (at / BLOCK % GROUP) & 1)) {
            at += BLOCK;
            continue;
        }
        struct rule *r = rules.lookup(&index);
        if (!r) return DENY;
        at++;
        if (misses(r, &w->row, &w->packet, transport, ports, has_own)) continue;
        if (r->action < GOES_ON) {
            verdict = r->action;
            w->rule_id = r->rule_id;
            break;
        }
        if (r->action == LOG) logged = r->rule_id;
        at = r->next;
    }
    w->at = at;
    w->logged = logged;
    if (verdict != WALK && w->is_cached) {
        struct verdict_key vk = w->cached;
        u64 answer = (u64)w->rule_id << 1 | verdict;
        verdicts.update(&vk, &answer);
    }
    return verdict;
}

int walk_rules(struct __sk_buff *skb) {
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return TC_ACT_SHOT;
    u32 verdict = walk_on(w, CHUNK, 0);
    if (verdict == WALK) {
        steps.call(skb, WALK_RULES);
        w->reason = TOO_LONG; // calls are used up: closed
        verdict = DENY;
    }
    w->said = verdict;
    steps.call(skb, JUDGE); // not here: the verifier would follow all that for every round of the walk
    return count(TOO_LONG, TC_ACT_SHOT);
}

// Where a packet goes on once a list was walked.
int judge_rules(struct __sk_buff *skb) {
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return TC_ACT_SHOT;
    return judge(skb, w, w->said);
}
