// The sender of early.py, run without a wire: each run puts another source into the frame and sends it out of an interface, as fast as a
// driver hands frames over. And the least that can be done with one. The frame's payload says from which addresses, and where to.
#include <uapi/linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

#define STEP 32 // addresses from one prefix to the next

struct told { u32 first, networks, ifindex; } __attribute__((packed));

int send_early(struct xdp_md *xdp) {
    void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
    struct iphdr *ip = data + ETH_HLEN;
    struct told *told = (void *)(ip + 1) + sizeof(struct udphdr);
    if ((void *)(told + 1) > end) return XDP_ABORTED;
    ip->saddr = bpf_htonl(told->first + STEP * (bpf_get_prandom_u32() % told->networks) + 1);
    ip->check = 0;
    u16 *words = (void *)ip;
    u32 sum = 0;
#pragma unroll
    for (int n = 0; n < 10; n++) sum += words[n];
    sum = (sum & 0xffff) + (sum >> 16);
    ip->check = ~((sum & 0xffff) + (sum >> 16));
    return bpf_redirect(told->ifindex, 0);
}

int drop_early(struct xdp_md *xdp) { return XDP_DROP; }
