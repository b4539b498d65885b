/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A LAN of the lab that forwards like hardware: at the cost of none of its hosts' stacks.  On a
 * switch's port, as the first thing that sees what a host sends; the frame goes on to the port of
 * its destination as a frame, without an sk_buff, so it arrives there as from a NIC's driver.
 * What no host has for its address (broadcasts) goes up to the bridge.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

struct mac {
	__u8 bytes[8];
}; /* six of the address, two zero */

/* Writer: the lab, before the program is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct mac);
	__type(value, __u32); /* ifindex of the port behind which it is */
	__uint(max_entries, 512);
} hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 512);
} ports SEC(".maps");

SEC("xdp")
int lab_switch(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct mac to = {};
	__u32 *port;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	__builtin_memcpy(to.bytes, eth->h_dest, ETH_ALEN);
	port = bpf_map_lookup_elem(&hosts, &to);
	if (!port || *port == ctx->ingress_ifindex)
		return XDP_PASS;
	return bpf_redirect_map(&ports, *port, XDP_PASS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
