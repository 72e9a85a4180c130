// The two programs of an endpoint, on the host side of its veth: from_endpoint (tc ingress: what it sends) and
// to_endpoint (tc egress: what it gets). Layouts: nodeagent/dataplane/ebpf/layout.py, which packs the same structs; the
// loader compiles this file with -D sizes taken from there, so a difference does not compile.
#include <uapi/linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#define INGRESS 0
#define EGRESS 1
#define ROW_WORDS 16
#define CHUNK 32 // rules that one program walks; then it calls itself
#define CACHE_FROM 40
#define ECHO_REPLY 0
#define ECHO_REQUEST 8
#define HOST 1
#define WORLD 2
#define IS_CACHEABLE 0x80000000u
#define COUNT_MASK 0x0000ffffu
#define MORE_FRAGMENTS 0x2000
#define FRAGMENT_OFFSET 0x1fff
#define FRAGMENT_NS 30000000000ull // how long a receiver waits for the rest (Linux: net.ipv4.ipfrag_time)

struct endpoint { u32 address, identity, bank, epoch; u32 start[2]; u32 count[2]; };
struct address_key { u32 bank, address; };
struct address_value { u32 identity, prefix; };
struct prefix_key { u32 length, bank, address; };
struct row_key { u32 bank, number; };
struct row { u64 words[ROW_WORDS]; };
struct rule {
    u16 bit, not_bit, net_bit, not_net_bit;
    u16 source_low, source_high, destination_low, destination_high;
    u8 protocol, flags, action, unused;
    u16 icmp_type, icmp_code;
    u32 next, rule_id;
};
struct connection_key { u32 local, remote; u16 local_port, remote_port; u32 protocol; };
struct connection { u32 epoch, opened; u64 seen; };
struct verdict_key { u32 start, identity, prefix, epoch, bank; u16 port; u16 protocol; };

_Static_assert(sizeof(struct endpoint) == ENDPOINT_SIZE, "layout.py");
_Static_assert(sizeof(struct address_key) == ADDRESS_KEY_SIZE, "layout.py");
_Static_assert(sizeof(struct row) == ROW_SIZE, "layout.py");
_Static_assert(sizeof(struct rule) == RULE_SIZE, "layout.py");
_Static_assert(sizeof(struct prefix_key) == PREFIX_KEY_SIZE, "layout.py");

// A datagram in fragments: the first has the ports and is judged; what follows goes the way of the first.
struct fragment_key { u32 source, destination, ifindex; u16 id, protocol; }; // both ends may be of this node: each its own
struct fragment { u64 seen, epoch; };

struct packet {
    u32 local, remote;
    u16 local_port, remote_port;
    u8 protocol, icmp_type, icmp_code, is_syn;
    u16 fragment; // as in the header: of more than one part, when not 0
    u16 id;
};

// What a walk needs to go on where the last program stopped: a program follows each branch of its loop, so one walks few
// rules and tail-calls the next.
struct walk {
    struct row row;
    struct packet packet;
    struct endpoint endpoint;
    struct verdict_key cached;
    u32 way, ways, opened, is_live, is_cached, direction;
    u32 start, size, at, transport;
    u16 source, destination;
};

BPF_TABLE("hash", u32, struct endpoint, endpoints, 4096);
BPF_F_TABLE("hash", struct address_key, struct address_value, addresses, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct prefix_key, u32, prefixes, 65536, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct row_key, struct row, identity_rows, 65536, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct row_key, struct row, prefix_rows, 65536, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct rule, rules, 65536);
BPF_TABLE("lru_hash", struct connection_key, struct connection, connections, 262144);
BPF_TABLE("lru_hash", struct verdict_key, u32, verdicts, 65536);
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 8192);
BPF_TABLE("percpu_array", u32, struct walk, walks, 1);
BPF_TABLE("prog", u32, u32, walkers, 1);
BPF_TABLE("percpu_array", u32, u64, counters, 16);

enum { ALLOWED, DENIED, UNKNOWN_ENDPOINT, SPOOFED, NOT_IPV4, FRAGMENT, MALFORMED, CUT };

static inline int has_ports(u8 p) { return p == IPPROTO_TCP || p == IPPROTO_UDP || p == 132 || p == 136; }

static inline int count(u32 reason, int action) {
    u64 *value = counters.lookup(&reason);
    if (value) (*value)++;
    return action;
}

// Arithmetic instead of branches below: the verifier follows both ways of every branch of every round of the walk, and
// gives up at 8,192 that wait. Each gives 1 or 0.
static inline u32 differs(u32 a, u32 b) { u32 x = a ^ b; return (x | -x) >> 31; }
static inline u32 outside(u32 value, u32 low, u32 high) { return ((value - low) | (high - value)) >> 31; }
static inline u32 lacks(struct row *row, u16 bit) {
    return (~(row->words[(bit >> 6) & (ROW_WORDS - 1)] >> (bit & 63))) & 1;
}

// `transport`: 1 for ICMP, 2 for a protocol with ports, else 0.
static inline u32 misses(struct rule *r, struct row *row, struct packet *k, u32 transport, u32 ports) {
    u32 f = r->flags, source = ports >> 16, destination = ports & 0xffff;
    u32 miss = ((f >> 4) & lacks(row, r->bit)) | ((f >> 5) & lacks(row, r->net_bit));
    miss |= ((f >> 6) & (lacks(row, r->not_bit) ^ 1)) | ((f >> 7) & (lacks(row, r->not_net_bit) ^ 1));
    miss |= differs(r->protocol, 0) & (differs(r->protocol, k->protocol) ^ f);
    u32 other_icmp = (differs(r->icmp_type, 0xffff) & differs(r->icmp_type, k->icmp_type)) |
                     (differs(r->icmp_code, 0xffff) & differs(r->icmp_code, k->icmp_code));
    miss |= (f >> 1) & (differs(transport, 1) | (other_icmp ^ (f >> 2)));
    miss |= (f >> 3) & (differs(transport, 2) | outside(source, r->source_low, r->source_high) |
                        outside(destination, r->destination_low, r->destination_high));
    return miss & 1;
}

static inline struct fragment_key fragment_of(struct __sk_buff *skb, struct packet *k, u32 direction) {
    struct fragment_key key = {.ifindex = skb->ifindex, .id = k->id, .protocol = k->protocol};
    key.source = direction == EGRESS ? k->local : k->remote;
    key.destination = direction == EGRESS ? k->remote : k->local;
    return key;
}

// Lets a packet pass; the first of several fragments opens the way for the rest.
static inline int pass(struct __sk_buff *skb, struct packet *k, u32 direction, u32 epoch) {
    if (k->fragment) {
        struct fragment_key key = fragment_of(skb, k, direction);
        struct fragment first = {.epoch = epoch, .seen = bpf_ktime_get_ns()};
        fragments.update(&key, &first);
    }
    return count(ALLOWED, TC_ACT_OK);
}

// A fragment that is not the first.
static inline int follow(struct __sk_buff *skb, struct packet *k, u32 direction, u32 epoch) {
    struct fragment_key key = fragment_of(skb, k, direction);
    struct fragment *first = fragments.lookup(&key);
    // Offset 1 lies within the header that the first was judged by, and could write over it (RFC 1858).
    if (!first || (k->fragment & FRAGMENT_OFFSET) == 1) return count(FRAGMENT, TC_ACT_SHOT);
    if (first->epoch != epoch) return count(FRAGMENT, TC_ACT_SHOT);
    if (bpf_ktime_get_ns() - first->seen > FRAGMENT_NS) return count(FRAGMENT, TC_ACT_SHOT);
    return count(ALLOWED, TC_ACT_OK);
}

enum { DENY, ALLOW, WALK };

// Prepares the walk of the endpoint's list for a connection opened in `way`: ALLOW or DENY when that is known at once.
static inline int prepare(struct walk *w, u32 way) {
    struct endpoint *e = &w->endpoint;
    struct packet *k = &w->packet;
    u32 total = way ? e->count[1] : e->count[0];
    w->way = way;
    w->at = 0;
    w->start = way ? e->start[1] : e->start[0];
    w->size = total & COUNT_MASK;
    struct address_key ak = {.bank = e->bank, .address = k->remote};
    struct address_value peer = {.identity = WORLD, .prefix = 0};
    struct address_value *known = addresses.lookup(&ak);
    if (known) {
        peer = *known;
    } else {
        struct prefix_key pk = {.length = 64, .bank = e->bank, .address = k->remote};
        u32 *prefix = prefixes.lookup(&pk);
        if (prefix) peer.prefix = *prefix;
    }
    if (peer.identity == HOST && way == INGRESS) return ALLOW;
    if (total == 0) return ALLOW;
    w->source = way == EGRESS ? k->local_port : k->remote_port;
    w->destination = way == EGRESS ? k->remote_port : k->local_port;
    w->transport = k->protocol == IPPROTO_ICMP ? 1 : has_ports(k->protocol) ? 2 : 0;
    w->is_cached = (total & IS_CACHEABLE) && w->size >= CACHE_FROM;
    if (w->is_cached) {
        struct verdict_key vk = {.start = w->start, .identity = peer.identity, .prefix = peer.prefix, .epoch = e->epoch,
                                 .bank = e->bank, .port = w->destination, .protocol = k->protocol};
        u32 *cached = verdicts.lookup(&vk);
        if (cached) return *cached ? ALLOW : DENY;
        w->cached = vk;
    }
    // One merged row: half the work per rule.
    struct row_key rk = {.bank = e->bank, .number = peer.identity};
    struct row *own = identity_rows.lookup(&rk);
    if (own) __builtin_memcpy(&w->row, own, sizeof(w->row));
    else __builtin_memset(&w->row, 0, sizeof(w->row));
    if (peer.prefix) {
        rk.number = peer.prefix;
        own = prefix_rows.lookup(&rk);
        if (own)
            for (int word = 0; word < ROW_WORDS; word++) w->row.words[word] |= own->words[word];
    }
    return WALK;
}

// Ends the judging of a packet: remembers or forgets its connection.
static inline int finish(struct __sk_buff *skb, struct walk *w, int verdict) {
    struct packet *k = &w->packet;
    struct connection_key key = {.local = k->local, .remote = k->remote, .local_port = k->local_port,
                                 .remote_port = k->remote_port, .protocol = k->protocol};
    if (verdict == DENY) {
        if (!w->is_live) return count(DENIED, TC_ACT_SHOT);
        connections.delete(&key);
        return count(CUT, TC_ACT_SHOT);
    }
    if (k->protocol == IPPROTO_ICMP && k->icmp_type == ECHO_REPLY) return pass(skb, k, w->direction, w->endpoint.epoch); // opens nothing
    struct connection fresh = {.epoch = w->endpoint.epoch, .opened = w->opened, .seen = bpf_ktime_get_ns()};
    connections.update(&key, &fresh);
    return pass(skb, k, w->direction, w->endpoint.epoch);
}

// Judges the ways that are left, as far as that goes without walking; then walks.
static inline int judge(struct __sk_buff *skb, struct walk *w) {
    for (int round = 0; round < 2; round++) {
        if (!w->ways) return finish(skb, w, ALLOW);
        u32 way = w->ways & 1 ? INGRESS : EGRESS;
        w->ways &= way == INGRESS ? 2 : 0;
        int verdict = prepare(w, way);
        if (verdict == DENY) return finish(skb, w, DENY);
        if (verdict == WALK) {
            walkers.call(skb, 0);
            return count(DENIED, TC_ACT_SHOT); // only when calls are used up: closed
        }
    }
    return finish(skb, w, ALLOW);
}

int walk_rules(struct __sk_buff *skb) {
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return TC_ACT_SHOT;
    u32 at = w->at, start = w->start, size = w->size, ports = ((u32)w->source << 16) | w->destination;
    u32 verdict = WALK, transport = w->transport;
    for (int n = 0; n < CHUNK; n++) {
        if (at >= size) {
            verdict = ALLOW; // every tier passed
            break;
        }
        u32 index = start + at;
        struct rule *r = rules.lookup(&index);
        if (!r) return TC_ACT_SHOT;
        at++;
        if (misses(r, &w->row, &w->packet, transport, ports)) continue;
        if (r->action != 2) {
            verdict = r->action;
            break;
        }
        at = r->next;
    }
    w->at = at;
    if (verdict == WALK) {
        walkers.call(skb, 0);
        return count(DENIED, TC_ACT_SHOT);
    }
    if (w->is_cached) {
        struct verdict_key vk = w->cached;
        verdicts.update(&vk, &verdict);
    }
    if (verdict == DENY) return finish(skb, w, DENY);
    return judge(skb, w);
}

// Fills in ports or ICMP's fields. Returns 0, or the reason why the packet cannot be judged.
static inline int parse_transport(struct __sk_buff *skb, struct packet *k, u32 offset, u32 direction) {
    u16 ports[2];
    if (has_ports(k->protocol)) {
        if (bpf_skb_load_bytes(skb, offset, ports, 4)) return MALFORMED;
        k->local_port = bpf_ntohs(direction == EGRESS ? ports[0] : ports[1]);
        k->remote_port = bpf_ntohs(direction == EGRESS ? ports[1] : ports[0]);
        if (k->protocol == IPPROTO_TCP) {
            u8 flags;
            if (bpf_skb_load_bytes(skb, offset + 13, &flags, 1)) return MALFORMED;
            k->is_syn = (flags & 0x12) == 0x02;
            // The whole header in the first fragment, so that no later one says anything of what was judged.
            if (k->fragment && bpf_skb_load_bytes(skb, offset + 19, &flags, 1)) return MALFORMED;
        }
    }
    return 0;
}

static inline int handle(struct __sk_buff *skb, u32 direction) {
    if (skb->protocol == bpf_htons(ETH_P_ARP)) return TC_ACT_OK;
    if (skb->protocol != bpf_htons(ETH_P_IP)) return count(NOT_IPV4, TC_ACT_SHOT);
    u32 ifindex = skb->ifindex;
    struct endpoint *e = endpoints.lookup(&ifindex);
    if (!e) return count(UNKNOWN_ENDPOINT, TC_ACT_SHOT);
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) return count(MALFORMED, TC_ACT_SHOT);
    if (ip.version != 4 || ip.ihl < 5) return count(MALFORMED, TC_ACT_SHOT);
    struct packet k = {.protocol = ip.protocol, .id = ip.id};
    k.fragment = bpf_ntohs(ip.frag_off) & (MORE_FRAGMENTS | FRAGMENT_OFFSET);
    k.local = direction == EGRESS ? ip.saddr : ip.daddr;
    k.remote = direction == EGRESS ? ip.daddr : ip.saddr;
    if (k.local != e->address) return count(SPOOFED, TC_ACT_SHOT);
    if (k.fragment & FRAGMENT_OFFSET) return follow(skb, &k, direction, e->epoch);
    u32 offset = ETH_HLEN + ip.ihl * 4;
    if (k.protocol == IPPROTO_ICMP) {
        u8 icmp[8];
        if (bpf_skb_load_bytes(skb, offset, icmp, 8)) return count(MALFORMED, TC_ACT_SHOT);
        k.icmp_type = icmp[0];
        k.icmp_code = icmp[1];
        // A connection is one echo (request and answers, by identifier), or messages of one type and code: what was allowed
        // for one lets no other through. Only an answer is never an opening.
        k.is_syn = icmp[0] != ECHO_REPLY;
        if ((icmp[0] == ECHO_REPLY || icmp[0] == ECHO_REQUEST) && !icmp[1]) {
            k.local_port = k.remote_port = (icmp[4] << 8) | icmp[5];
        } else if (icmp[0] == 3 || icmp[0] == 11 || icmp[0] == 12) {
            // An error passes with the flow that it is about: the inner packet went the other way.
            struct iphdr inner;
            if (bpf_skb_load_bytes(skb, offset + 8, &inner, sizeof(inner))) return count(MALFORMED, TC_ACT_SHOT);
            u32 other = direction == EGRESS ? INGRESS : EGRESS;
            k.protocol = inner.protocol;
            k.local = other == EGRESS ? inner.saddr : inner.daddr;
            k.remote = other == EGRESS ? inner.daddr : inner.saddr;
            if (k.local != e->address) return count(SPOOFED, TC_ACT_SHOT);
            u16 ports[2] = {};
            u32 within = inner.protocol == IPPROTO_ICMP ? 4 : 0; // an echo's identifier
            bpf_skb_load_bytes(skb, offset + 8 + inner.ihl * 4 + within, ports, 4);
            if (within) ports[1] = ports[0];
            struct connection_key about = {.local = k.local, .remote = k.remote, .protocol = k.protocol};
            about.local_port = bpf_ntohs(other == EGRESS ? ports[0] : ports[1]);
            about.remote_port = bpf_ntohs(other == EGRESS ? ports[1] : ports[0]);
            struct connection *flow = connections.lookup(&about);
            if (flow && flow->epoch == e->epoch) return count(ALLOWED, TC_ACT_OK);
            return count(DENIED, TC_ACT_SHOT);
        } else {
            k.local_port = (icmp[0] << 8) | icmp[1];
            k.remote_port = ~k.local_port; // an echo's two are equal
        }
    } else if (parse_transport(skb, &k, offset, direction)) {
        return count(MALFORMED, TC_ACT_SHOT);
    }
    struct connection_key key = {.local = k.local, .remote = k.remote, .local_port = k.local_port,
                                 .remote_port = k.remote_port, .protocol = k.protocol};
    struct connection *c = connections.lookup(&key);
    u32 opened = direction, asked = 1 << direction;
    int is_live = c && !(k.is_syn && c->opened != direction);
    if (is_live) {
        if (c->epoch == e->epoch) return pass(skb, &k, direction, e->epoch);
        opened = c->opened; // policy has changed: judge again as it was opened
        asked = 1 << opened;
        if (k.protocol == IPPROTO_ICMP && k.icmp_type == ECHO_REPLY) k.icmp_type = ECHO_REQUEST;
    } else if (k.protocol == IPPROTO_TCP && !k.is_syn) {
        // The middle of a connection that we did not see open: who opened it is unknown, so both ways must be allowed.
        // Otherwise the answer of a server that was just cut off would open the way again.
        asked = 3;
    }
    u32 zero = 0;
    struct walk *w = walks.lookup(&zero);
    if (!w) return TC_ACT_SHOT;
    w->packet = k;
    w->endpoint = *e;
    w->ways = asked;
    w->opened = opened;
    w->is_live = is_live;
    w->direction = direction;
    return judge(skb, w);
}

int from_endpoint(struct __sk_buff *skb) { return handle(skb, EGRESS); }
int to_endpoint(struct __sk_buff *skb) { return handle(skb, INGRESS); }
