// Keys, values and maps. nodeagent/dataplane/ebpf/layout.py packs the same structs; the loader compiles with -D sizes taken from
// there, so a difference does not compile. The loader joins the files of this folder into one text: bcc reads maps in that only.
#include <uapi/linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#define INGRESS 0
#define EGRESS 1
#define ROW_WORDS 16
#define STAMPS 4096
#define COUNTED_RULES 32768
#define HOST 1 // identities that are everybody's
#define WORLD 2
#define BLOCK 32 // rules
#define PASS TC_ACT_UNSPEC // whoever hangs after us is asked too

struct ip { u32 part[4]; }; // as on the wire; an IPv4 address is the first part. Where both meet, `space` tells them apart.

// `space`: the bank's number, and 1 for IPv6. A bank holds what one run of the agent wrote, whose bits mean the same.
struct address_key { u32 space; struct ip address; };
struct address_value { u32 identity, prefix, seal; };
struct prefix_key { u32 length, space; struct ip address; };
struct row_key { u32 bank, number; };
struct row { u64 words[ROW_WORDS], seal; };

// The kernel gives the place of an entry that was replaced to another key at once, while a program may still read there. So values whose
// mixture would be a wrong verdict say whose they are (`seal`, `ifindex`), and are read again when they are not what was asked for.
struct endpoint {
    u32 ifindex;
    u32 address4, identity, bank, epoch;
    u32 start[2], count[2]; // by direction: a list in `rules`; the count has flags
    u8 mac[6]; // zeros: not told, any
    u16 flags;
    struct ip address6;
    u32 seal; // the epoch
};
#define HAS_MORE_ADDRESSES 1
#define IS_DIRECT 2 // another endpoint of this node may hand it packets past the node's stack
#define IS_NODE 4 // in a walk only: an interface of the node is judged

// An interface of the node itself that is policed. Its lists by stage and direction (what comes in there: INGRESS), as an endpoint's.
#define HOST_LISTS 8
struct host {
    u32 ifindex, bank, epoch, flags;
    u32 start[HOST_LISTS], count[HOST_LISTS];
    u32 seal; // the epoch
};
#define IS_BARE 1 // packets have no Ethernet header there
#define SAFE_SHIFT 8 // above it in `flags`: how many rules of what comes in for the node itself let failsafe ports pass

struct more_key { u32 ifindex, is_v6; struct ip address; };
struct local_key { u32 is_v6; struct ip address; };

struct rule {
    u16 bit, not_bit, net_bit, not_net_bit;
    u16 source_low, source_high, destination_low, destination_high;
    u8 protocol, flags, action, is_own; // is_own: the bits are asked of the end on the node's side (hosts' lists only)
    u16 icmp_type, icmp_code;
    u32 next, rule_id; // rule_id: 0 is no rule's
};
#define IS_CACHEABLE 0x80000000u
#define IS_SUMMARIZED 0x40000000u // the list begins where a block does, and each of its blocks has a summary
#define ASKS_OWN 0x20000000u // it has a rule that asks of the end on the node's side
#define PORTS_SHIFT 16 // how many of its first rules ask for one protocol and ports, as those of failsafe ports do
#define PORTS_MASK 31
#define COUNT_MASK 0x0000ffffu

// One entry for both ends of a connection, whoever sends: the end whose address (or port) is less comes first.
struct connection_key { struct ip low, high; u16 low_port, high_port; u8 protocol, is_v6; u16 unused; };
struct side { u32 ifindex, epoch, stamp, rule_id; }; // of an end that is an endpoint here; ifindex 0: not, or not judged yet
struct connection {
    u64 deadline; // of the kernel's coarse monotonic clock, ns
    u64 opened_at;
    u64 bytes[2]; // by the end that sent them; packets that two processors handle at once may be missed
    u32 packets[2];
    struct side sides[2];
    u32 rtt_us;
    u8 opener, state, marks, tcp_flags; // opener: the end that opened it
};
#define ENDED 3  // in marks: a bit for each end that has ended
#define DIRECT 4 // between two endpoints here, past the node's stack
#define TIMED 8  // opened_at is exact
#define PASSED_ON 4 // in marks, shifted by it and the side of an interface of the node: the connection passes through the node there
enum { OPENING, ANSWERED, ESTABLISHED };

struct verdict_key { u32 start, identity, prefix, epoch, bank; u16 port; u16 protocol; };
struct fragment_key { struct ip source, destination; u32 ifindex, id; };
struct fragment { u64 deadline; u32 epoch, unused; };
struct summary { u64 words[ROW_WORDS]; }; // of which each rule of a block asks one; all, when one asks none
struct rule_count { u64 packets, bytes; };

struct event {
    u64 at, bytes[2];
    struct ip local, remote;
    u32 ifindex, epoch, identity, peer, rule_id, rtt_us, packets[2];
    u16 local_port, remote_port;
    u8 protocol, is_v6, kind, reason, direction, tcp_flags;
    u16 unused[3];
};
enum { EVENT_OPENED, EVENT_DENIED, EVENT_CUT, EVENT_CLOSED, EVENT_LOGGED };
struct settings { u32 events; u32 sample; }; // events: a bit for each kind that is told; one of `sample` denials is

_Static_assert(sizeof(struct endpoint) == ENDPOINT_SIZE, "layout.py");
_Static_assert(sizeof(struct host) == HOST_SIZE, "layout.py");
_Static_assert(sizeof(struct address_key) == ADDRESS_KEY_SIZE, "layout.py");
_Static_assert(sizeof(struct prefix_key) == PREFIX_KEY_SIZE, "layout.py");
_Static_assert(sizeof(struct address_value) == ADDRESS_VALUE_SIZE, "layout.py");
_Static_assert(sizeof(struct row) == ROW_SIZE, "layout.py");
_Static_assert(sizeof(struct rule) == RULE_SIZE, "layout.py");
_Static_assert(sizeof(struct more_key) == MORE_KEY_SIZE, "layout.py");
_Static_assert(sizeof(struct connection_key) == CONNECTION_KEY_SIZE, "layout.py");
_Static_assert(sizeof(struct connection) == CONNECTION_SIZE, "layout.py");
_Static_assert(sizeof(struct local_key) == LOCAL_KEY_SIZE, "layout.py");
_Static_assert(sizeof(struct event) == EVENT_SIZE, "layout.py");

struct packet {
    struct ip local, remote;
    u16 local_port, remote_port;
    u8 protocol, is_v6, icmp_type, icmp_code;
    u8 tcp_flags, is_opening, is_about, is_fragment; // is_about: an ICMP error; the rest is the flow that it speaks of
    u16 later; // a fragment's offset, in 8 bytes; 0: it has the header
    u8 is_usual, unused; // is_usual: nothing but Ethernet, IP and TCP or UDP
    u32 id, length;
};

// What a walk needs to go on where the last program stopped: a program follows each branch of its loop, so one walks few
// rules and tail-calls the next.
struct walk {
    struct row row, own_row, found; // own_row: of the end on the node's side, at an interface of the node. found: as it was read
    struct packet packet;
    struct endpoint endpoint;
    struct connection_key key;
    struct connection connection; // as it is to stand
    struct verdict_key cached;
    u64 now;
    u32 ifindex, mine, direction; // of the endpoint that is asked; mine: its side
    u32 target; // to which the packet goes past the stack, once it may
    u32 way, ways, is_middle, is_new, is_found, is_live, is_established, is_cached, is_summarized;
    u32 start, size, at, transport, peer, rule_id, logged, stamp, reason; // logged: a rule that is to be told of, or 0
    u16 source, destination;
    struct host host; // the rest: at an interface of the node
    struct address_value outer, inner; // who is at its two ends
    u32 said; // by the list that was walked; WALK: none was
    u32 stage, behind, is_passing; // behind: the endpoint's interface that it comes from, whose address is translated
};

BPF_TABLE("hash", u32, struct endpoint, endpoints, 4096);
BPF_F_TABLE("hash", u32, struct host, hosts, 4096, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct more_key, u32, more_addresses, 16384, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct local_key, u32, locals, 16384, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct address_key, struct address_value, addresses, 524288, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct prefix_key, u32, prefixes, 524288, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct row_key, struct row, identity_rows, 131072, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct row_key, struct row, prefix_rows, 131072, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct rule, rules, 65536);
BPF_TABLE("array", u32, struct summary, summaries, 65536 / BLOCK);
BPF_TABLE("array", u32, u32, stamps, STAMPS);
BPF_F_TABLE("hash", struct connection_key, struct connection, connections, CONNECTIONS, BPF_F_NO_PREALLOC);
BPF_TABLE("lru_hash", struct connection_key, struct connection, openings, OPENINGS);
BPF_TABLE("lru_hash", struct verdict_key, u64, verdicts, 65536);
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 8192);
BPF_TABLE("percpu_array", u32, struct walk, walks, 1);
BPF_TABLE("prog", u32, u32, steps, 5);
BPF_TABLE("percpu_array", u32, u64, counters, 32);
BPF_TABLE("percpu_array", u32, struct rule_count, rule_counts, COUNTED_RULES);
BPF_TABLE("array", u32, struct settings, settings, 1);
BPF_RINGBUF_OUTPUT(events, EVENT_PAGES);

// Of `steps`: programs that another goes on in.
enum { WALK_RULES, DELIVER, WALK_HOST, ASK_HOST, JUDGE };

// Order: layout.COUNTERS.
enum {
    ALLOWED, DENIED, UNKNOWN_ENDPOINT, SPOOFED, NOT_IP, FRAGMENT, MALFORMED, CUT, TABLE_FULL, TOO_LONG, LINK_LOCAL, EVENT_LOST,
};
