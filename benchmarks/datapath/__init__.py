"""The datapath beside iptables in Calico's shape, nftables, and no policy at all: rates, nanoseconds, updates, memory."""
