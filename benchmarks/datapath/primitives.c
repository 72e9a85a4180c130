// What a verdict cannot do without, one program each: reading the headers, and one look-up of each kind of map. Each looks
// up what the packet says, as the datapath does, so that peers at random miss the processor's caches alike. `fill` and
// `fill_prefix` write the entries that the others find. Loaded by primitives.py; nothing here ever hangs on an interface.
#include <uapi/linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#define PREFIX_LENGTH 28

struct view { u32 source, destination; u16 source_port, destination_port; u32 protocol; };
struct net { u32 length, address; };
struct row { u64 words[16]; };
struct pair { u32 subject, identity; u16 port; u8 protocol, direction; };
struct answer { u64 packets_or_flags; };

BPF_TABLE("hash", u32, struct row, endpoints, 4096);
BPF_TABLE("array", u32, struct row, lists, 1024);
BPF_F_TABLE("hash", u32, u64, addresses, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u32, struct row, rows, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct net, u32, prefixes, 262144, BPF_F_NO_PREALLOC);
BPF_TABLE("lru_hash", struct view, u64, connections, 262144);
// The design that is not ours: an entry for each subject, peer's identity and port.
BPF_F_TABLE("hash", struct pair, struct answer, pairs, 262144, BPF_F_NO_PREALLOC);

static inline int read(struct __sk_buff *skb, struct view *v) {
    struct iphdr ip;
    u16 ports[2];
    if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) return 0;
    if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), ports, sizeof(ports))) return 0;
    v->source = ip.saddr;
    v->destination = ip.daddr;
    v->source_port = ports[0];
    v->destination_port = ports[1];
    v->protocol = ip.protocol;
    return 1;
}

static inline int found(void *value) { return value ? TC_ACT_OK : TC_ACT_SHOT; }

int empty(struct __sk_buff *skb) { return TC_ACT_OK; }

int headers(struct __sk_buff *skb) {
    struct view v = {};
    return read(skb, &v) ? TC_ACT_OK : TC_ACT_SHOT;
}

int endpoint(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    return found(endpoints.lookup(&v.destination));
}

int list(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    u32 place = v.source & 1023;
    return found(lists.lookup(&place));
}

int address(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    return found(addresses.lookup(&v.source));
}

int identity_row(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    return found(rows.lookup(&v.source));
}

int prefix(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    struct net key = {.length = 32, .address = v.source};
    return found(prefixes.lookup(&key));
}

int connection(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    return found(connections.lookup(&v));
}

// As of a connection that is new.
int no_connection(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    v.protocol = 0;
    return found(connections.lookup(&v));
}

int fill(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    struct row row = {};
    u64 one = 1;
    struct pair pair = {.subject = v.destination, .identity = v.source, .port = v.destination_port, .protocol = v.protocol};
    struct answer answer = {};
    endpoints.update(&v.destination, &row);
    addresses.update(&v.source, &one);
    rows.update(&v.source, &row);
    connections.update(&v, &one);
    pairs.update(&pair, &answer);
    return TC_ACT_OK;
}

int fill_prefix(struct __sk_buff *skb) {
    struct view v = {};
    if (!read(skb, &v)) return TC_ACT_SHOT;
    u32 number = 1;
    u64 one = 1;
    struct net net = {.length = PREFIX_LENGTH, .address = v.source};
    prefixes.update(&net, &number);
    connections.update(&v, &one);
    return TC_ACT_OK;
}
