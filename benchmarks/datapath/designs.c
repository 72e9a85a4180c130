// Designs that could have been ours, beside what is: one program each, which reads the headers as those of primitives.c do. Loaded by designs.py; nothing
// here ever hangs on an interface.
#include <uapi/linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

struct wide { u32 part[4]; };
struct net { u32 length; struct wide address; };
struct pair { struct wide peer; u32 subject; u16 port; u8 protocol, direction; };
struct banked { struct wide address; u32 bank; };

BPF_F_TABLE("hash", struct wide, u64, hash_wide, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u32, u64, hash_packed, 262144, BPF_F_NO_PREALLOC);
BPF_TABLE("lru_hash", struct wide, u64, hash_lru, 262144);
BPF_F_TABLE("lpm_trie", struct net, u64, trie, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct net, u64, trie_of_nets, 262144, BPF_F_NO_PREALLOC);
BPF_TABLE("lru_hash", struct pair, u64, cache_shared, 262144);
BPF_TABLE("lru_percpu_hash", struct pair, u64, cache_percpu, 262144);
BPF_F_TABLE("hash", struct banked, u64, bank, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct wide, u64, inner, 262144, BPF_F_NO_PREALLOC);
BPF_ARRAY_OF_MAPS(outer, "inner", 1);

struct view { struct wide source; u32 packed, subject; u16 port; u8 protocol; };

static inline int read(struct __sk_buff *skb, struct view *v) {
    struct iphdr ip;
    u16 ports[2];
    if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) return 0;
    if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), ports, sizeof(ports))) return 0;
    v->packed = v->source.part[3] = ip.saddr;
    v->source.part[2] = 0xffff0000;
    v->subject = ip.daddr;
    v->port = ports[1];
    v->protocol = ip.protocol;
    return 1;
}

static inline int found(void *value) { return value ? TC_ACT_OK : TC_ACT_SHOT; }

#define BEGIN struct view v = {}; if (!read(skb, &v)) return TC_ACT_SHOT

int headers(struct __sk_buff *skb) { BEGIN; return TC_ACT_OK; }

int exact(struct __sk_buff *skb) { BEGIN; return found(hash_wide.lookup(&v.source)); }

int exact_packed(struct __sk_buff *skb) { BEGIN; return found(hash_packed.lookup(&v.packed)); }

int exact_lru(struct __sk_buff *skb) { BEGIN; return found(hash_lru.lookup(&v.source)); }

int prefixes_alone(struct __sk_buff *skb) {
    BEGIN;
    struct net key = {.length = 128, .address = v.source};
    return found(trie.lookup(&key));
}

// An address that only a prefix holds: what the hash before the trie costs.
int exact_then_prefix(struct __sk_buff *skb) {
    BEGIN;
    struct wide other = v.source;
    other.part[0] = 1;
    if (hash_wide.lookup(&other)) return TC_ACT_OK;
    struct net key = {.length = 128, .address = v.source};
    return found(trie_of_nets.lookup(&key));
}

int prefix_of_nets(struct __sk_buff *skb) {
    BEGIN;
    struct net key = {.length = 128, .address = v.source};
    return found(trie_of_nets.lookup(&key));
}

#define PAIR struct pair pair = {.peer = v.source, .subject = v.subject, .port = v.port, .protocol = v.protocol}

int answer_shared(struct __sk_buff *skb) { BEGIN; PAIR; return found(cache_shared.lookup(&pair)); }

int answer_percpu(struct __sk_buff *skb) { BEGIN; PAIR; return found(cache_percpu.lookup(&pair)); }

int with_bank(struct __sk_buff *skb) {
    BEGIN;
    struct banked key = {.address = v.source, .bank = 1};
    return found(bank.lookup(&key));
}

int map_in_map(struct __sk_buff *skb) {
    BEGIN;
    u32 zero = 0;
    void *map = outer.lookup(&zero);
    if (!map) return TC_ACT_SHOT;
    return found(bpf_map_lookup_elem(map, &v.source));
}

int fill(struct __sk_buff *skb) {
    BEGIN;
    PAIR;
    u64 one = 1;
    struct net address = {.length = 128, .address = v.source}, net = {.length = 124, .address = v.source};
    struct banked banked = {.address = v.source, .bank = 1};
    hash_wide.update(&v.source, &one);
    hash_packed.update(&v.packed, &one);
    hash_lru.update(&v.source, &one);
    trie.update(&address, &one);
    trie_of_nets.update(&net, &one);
    cache_shared.update(&pair, &one);
    cache_percpu.update(&pair, &one);
    bank.update(&banked, &one);
    inner.update(&v.source, &one);
    return TC_ACT_OK;
}
