/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What our own kernel sends on front: the owner learns here how far each connection is. */
#include "abi/verdict.h"
#include "lib/sk.h"
#include "http/response.h"
#include "lib/emit.h"
#include "lib/measure.h"
#include "tc/cookie_news.h"
#include "tc/line_out.h"
#include "tc/mss.h"
#if IPOS_FAMILY == 6
#include "tc/neighbour_out.h"
#else
#include "tc/arp_out.h"
#include "tc/flow_out.h"
#endif

/*
 * What a socket says whose connection has moved, or is about to.  Dropped here, TCP would not
 * take it for sent; so it goes to our own ingress, and ends there or is what it was made to be.
 */
IPOS_INLINE int swallow(struct __sk_buff *skb, __u32 mark)
{
	count(COUNT_DROP_MOVED);
	skb->mark = mark;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#define ANSWER_ROUNDS 160 /* pieces and bodies in one packet */

/* The answers' bytes in a packet, those that are new. */
IPOS_FUNCTION int answers_read(struct __sk_buff *skb, struct ipos_scratch *w,
			       const struct segment *s, struct ipos_endpoint *ep)
{
	__u32 answered, fresh;

	if (!w || !s || !ep || seq_before(s->seq + s->length, ep->answer_next))
		return 0;
	answered = ep->answered;
	fresh = s->seq + s->length - ep->answer_next;
	if (seq_before(ep->answer_next, s->seq))
		ep->answer = IPOS_ANSWER_UNKNOWN;
	w->end = ep->answer_next - s->seq;
	IPOS_REPEAT(ANSWER_ROUNDS)
	{
		__u32 at = w->end, left = s->length - at, n;

		if (at >= s->length || ep->answer == IPOS_ANSWER_UNKNOWN)
			break;
		n = answer_skip(ep, left);
		if (!n) {
			n = left > IPOS_CHUNK ? IPOS_CHUNK : left;
			IPOS_OPAQUE(n);
			if (n < 1 || n > IPOS_CHUNK ||
			    bpf_skb_load_bytes(skb, s->payload + at, w->bytes, n))
				break;
			answer_feed(w, ep, n);
		}
		w->end = at + n;
	}
	if (w->end < s->length)
		ep->answer = IPOS_ANSWER_UNKNOWN;
	ep->answer_next = s->seq + s->length;
	if (!ep->asked_ns)
		return 0;
	ep->answer_bytes += fresh;
	if (!(ep->timed & IPOS_ANSWER_BEGUN) || ep->answered != answered)
		answer_timed(&s->tuple, ep, ep->answered - answered);
	return 0;
}

/* How many bytes a socket has sent, of which the lower half is known by their numbers. */
IPOS_INLINE __u64 bytes_sent(struct __sk_buff *skb, __u32 low)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp = sk ? bpf_tcp_sock(sk) : NULL;
	__u64 acked = tcp ? tcp->bytes_acked : 0;

	return acked + (__u32)(low - (__u32)acked);
}

/*
 * What answers_read() has not timed: an answer that ends with the connection, and whatever a
 * connection that is decided once carries, which counts as one answer.
 */
IPOS_INLINE void egress_timed(struct __sk_buff *skb, const struct segment *s,
			      struct ipos_endpoint *ep)
{
	__u32 begun = ep->timed & IPOS_ANSWER_BEGUN;
	int over = s->flags & TCP_FIN && !ep->server_fin_seen && (begun || s->length);

	if (!ep->asked_ns || !(over || (s->length && !begun)))
		return;
	if (over && ep->follow == IPOS_FOLLOW_NOT)
		ep->answer_bytes = bytes_sent(skb, s->seq + s->length - (ep->hs.iss + 1));
	answer_timed(&s->tuple, ep, over);
}

/* Whether a socket sends its first bytes, which the kernel has counted before they come here. */
IPOS_INLINE int is_first_data(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp = sk ? bpf_tcp_sock(sk) : NULL;

	return tcp && tcp->data_segs_out <= (skb->gso_segs ? skb->gso_segs : 1);
}

IPOS_INLINE int egress_tracked(struct __sk_buff *skb, struct ipos_settings *set,
			       struct ipos_scratch *w, const struct segment *s,
			       struct ipos_endpoint *ep)
{
	__u32 end = segment_end(s);
	int news = 0, verdict;

	if (ep->state != IPOS_EP_ATTACHED) {
		if (s->flags & TCP_RST) /* nobody took the endpoint; the notice says so */
			return shot(COUNT_DROP_NOT_ADOPTED);
		return TC_ACT_OK;
	}
	if (ep->flags & IPOS_EP_MOVING)
		return swallow(skb, IPOS_MARK_VOID);
	if (ep->follow)
		bpf_skb_load_bytes(skb, 0, ep->client_mac, ETH_ALEN);
	if (ep->follow && ep->follow != IPOS_FOLLOW_OPAQUE && s->length)
		answers_read(skb, w, s, ep);
	if (unlikely(ep->insert && ep->insert != IPOS_INSERT_DONE &&
		     ep->insert != IPOS_INSERT_SENT && s->length))
		line_look(skb, w, s, ep);
	if (unlikely(ep->learn) && s->length)
		news = learn_sent(skb, w, s, ep);
	if (s->flags & TCP_ACK)
		ep->rcv_nxt = s->ack;
	if (unlikely(ep->line.length)) {
		verdict = line_to_client(skb, set, w, s, ep);
		if (verdict)
			return verdict == TC_ACT_UNSPEC ? TC_ACT_OK : verdict;
		end += line_seq(&ep->line, line_final(ep), s->seq, s->length) - s->seq;
	}
	if (seq_before(ep->snd_nxt, end))
		ep->snd_nxt = end;
	if (s->flags & TCP_RST) {
		endpoint_end(skb, set, w, &s->tuple, ep, bpf_ktime_get_boot_ns(), 0);
		return TC_ACT_OK;
	}
	egress_timed(skb, s, ep);
	if (s->flags & TCP_FIN) {
		ep->server_fin = end;
		ep->server_fin_seen = 1;
	}
	if (ep->client_fin_seen && ep->server_fin_acked && !seq_before(s->ack, ep->client_fin))
		endpoint_end(skb, set, w, &s->tuple, ep, bpf_ktime_get_boot_ns(), 0);
	return unlikely(news) ? learn_detour(skb) : TC_ACT_OK;
}

/*
 * A socket whose connection has moved says something; only its FIN is answered, as the client
 * would, by a frame for our own kernel.
 */
IPOS_APART int left_behind_says(struct __sk_buff *skb, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s)
{
	struct segment to = *s;
	struct reply r = {
		.seq = s->ack, .ack = segment_end(s), .flags = TCP_ACK, .window = 0xffff
	};
	__u32 len, l2 = l2_length(set->front_vlan);

	if (!(s->flags & TCP_FIN) || load_options(skb, w, s))
		return swallow(skb, IPOS_MARK_VOID);
	r.ts_value = w->ts_echo;
	r.ts_echo = w->ts_value;
	r.options = w->option_flags & IPOS_OPT_TIMESTAMPS ? REPLY_TIMESTAMPS : REPLY_BARE;
	/* reply_header() answers a client: the sides change places once more. */
	to.tuple.client_ip = s->tuple.service_ip;
	to.tuple.client_port = s->tuple.service_port;
	to.tuple.service_ip = s->tuple.client_ip;
	to.tuple.service_port = s->tuple.client_port;
	if (bpf_skb_load_bytes(skb, 0, w->saved, ETH_ALEN))
		return shot(COUNT_DROP_EMIT);
	len = reply_header(w, &to, &r) & 63;
	l2_write(w->saved + 32, front_mac_of(set, s->tuple.service_ip), w->saved, set->front_vlan,
		 ETH_P_FAMILY);
	ip_write((void *)w->saved + 32 + l2, s->tuple.client_ip, s->tuple.service_ip, IP_LEN + len);
	l2 += IP_LEN;
	if (len < sizeof(struct tcphdr))
		return shot(COUNT_DROP_EMIT);
	tag_off(skb);
	if (bpf_skb_change_tail(skb, l2 + len, 0) ||
	    bpf_skb_store_bytes(skb, 0, w->saved + 32, l2, 0) ||
	    bpf_skb_store_bytes(skb, l2, w->frame, len, 0))
		return shot(COUNT_DROP_EMIT);
	return swallow(skb, IPOS_MARK_OURS);
}

/* what a socket may send that hears of no acknowledgement */
#define LEFT_SPAN (1U << 24)

/* Whether it is the socket left behind that speaks, and not a successor on the same ports. */
IPOS_INLINE int is_left(const struct ipos_left *left, const struct segment *s)
{
	return s->seq + 1 - left->sent < LEFT_SPAN; /* a keepalive is one byte before */
}

/* What is no TCP: ARP and neighbour discovery, and UDP. */
IPOS_INLINE int other_leaves(struct __sk_buff *skb, const struct ipos_settings *set,
			     const struct segment *s, enum parsed what)
{
#if IPOS_FAMILY == 6
	(void)set;
	return what == PARSED_ICMP ? neighbour_leaves(skb, s->l2) : PASS_OTHER;
#else
	(void)what;
	return s->tuple.protocol == IPPROTO_UDP && set->flags & IPOS_FLOWS ? flow_leaves(skb, s->l2)
									   : TC_ACT_OK;
#endif
}

IPOS_INLINE int egress_frame(struct __sk_buff *skb, struct ipos_settings *set,
			     struct ipos_scratch *w)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipos_endpoint *ep;
	struct ipos_left *left;
	enum parsed what;
	SEGMENT(s, w);
	int capture, verdict;
	ipos_ip ip;
	__u16 port;

	what = parse_l2(data, end, set->ethertype, s);
#if IPOS_FAMILY == 4
	if (unlikely(what == PARSED_OTHER)) {
		arp_leaves(skb, s->l2);
		return TC_ACT_OK;
	}
#endif
	if (what != PARSED_IP)
		return PASS_OTHER;
	what = parse_ip(data, end, skb->len, s);
	if (what != PARSED_TCP)
		return other_leaves(skb, set, s, what);
	/* What a socket sends after its first bytes matters only where responses are read. */
	if (likely((set->flags & (IPOS_ANSWERS_UNREAD | IPOS_CAPTURE)) == IPOS_ANSWERS_UNREAD) &&
	    s->length && !(s->flags & (TCP_SYN | TCP_FIN | TCP_RST)) &&
	    skb->mark != IPOS_MARK_OURS && !is_first_data(skb))
		return TC_ACT_OK;
	ip = s->tuple.client_ip;
	port = s->tuple.client_port;
	s->tuple.client_ip = s->tuple.service_ip;
	s->tuple.client_port = s->tuple.service_port;
	s->tuple.service_ip = ip;
	s->tuple.service_port = port;
	if (unlikely(skb->mark == IPOS_MARK_LINE)) {
		skb->mark = 0;
		verdict = line_leaves(skb, w, s);
		leaving(skb, set, skb->ifindex);
		return verdict;
	}
	ep = endpoint_of(&s->tuple);
	capture = unlikely(set->flags & IPOS_CAPTURE) && address_of(ip, port);
	if (capture && !(ep && ep->insert))
		capture_skb(skb, skb->ifindex, 1);
	if (ep && ep->state == IPOS_EP_ATTACHED) {
		capture = capture && ep->insert;
		verdict = egress_tracked(skb, set, w, s, ep);
		if (capture) /* as the client will see it */
			capture_skb(skb, skb->ifindex, 1);
		return verdict;
	}
	if (skb->mark == IPOS_MARK_OURS) { /* no socket's: the iNIC answers in its place */
		skb->mark = 0;
		return TC_ACT_OK;
	}
	left = bpf_map_lookup_elem(&FAMILY(left_behind), &s->tuple);
	if (left && is_left(left, s))
		return left_behind_says(skb, set, w, s);
	if (ep)
		return egress_tracked(skb, set, w, s, ep);
	if ((s->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && address_of(ip, port))
		clamp_mss(skb, s);
	return TC_ACT_OK;
}

/* What is for front's own address is for a program of this server: by the pair it came by. */
IPOS_INLINE int to_own_program(struct __sk_buff *skb, const struct ipos_settings *set)
{
	__u8 to[ETH_ALEN] __attribute__((aligned(2)));

	if (bpf_skb_load_bytes(skb, 0, to, ETH_ALEN) || !mac_same(to, set->front_mac))
		return TC_ACT_OK;
	return bpf_redirect(set->own_ifindex, BPF_F_INGRESS);
}

SEC("tc")
int FAMILY(ipos_egress)(struct __sk_buff *skb)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_EGRESS);
	struct ipos_settings *set = settings_now();
	int verdict = PASS_OTHER;

	if (w && set && set->abi == IPOS_ABI)
		verdict = egress_frame(skb, set, w);
	if (IPOS_FAMILY == 4 && unlikely(set && set->own_ifindex) && verdict == TC_ACT_OK)
		return to_own_program(skb, set);
	return verdict;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
