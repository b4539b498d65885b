/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What XDP passed up.  A client's packet comes by here once on front.  One out of a frame
 * comes in on back (or, with one interface, unmarked); until the endpoint is attached it is
 * put on front's ingress, so that reverse-path filters and firewalls see a new connection
 * where clients' packets belong.  After that it goes up from back: the way over front's
 * ingress costs a queue per packet.
 *
 * A packet to adopt an endpoint from is followed through the same queue by a notice to the
 * first server.  When that notice comes by, the kernel has either made a socket or not: it
 * goes out as a migration acknowledgement, or turns into a refusal.
 */
#include "learned.h"
#include "move.h"

/* ---- endpoints we own -------------------------------------------------------------------------- */

IPOS_APART __u32 kernel_state(struct __sk_buff *skb, const struct ipos_tuple *t)
{
	struct bpf_sock_tuple tuple;
	struct bpf_sock *sk;
	__u32 state;

	sock_tuple(&tuple, t);
	sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

/* Whether our kernel has the stream's bytes before `need`; only a socket that exists has any. */
IPOS_INLINE int kernel_received(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 need)
{
	__u32 next;

	return socket_expects(skb, t, &next) && !seq_before(next, need);
}

/*
 * The client's FIN, seen before, has reached our kernel or is about to: tc sees all packets of
 * one NAPI batch before TCP sees the first.
 */
IPOS_INLINE int fin_is_in(struct __sk_buff *skb, const struct segment *s,
			  const struct ipos_endpoint *ep)
{
	return !seq_before(ep->rcv_nxt, ep->client_fin) ||
	       (s->seq == ep->client_fin && kernel_received(skb, &s->tuple, ep->client_fin - 1));
}

/* The client has acknowledged our FIN.  Returns whether that is the end: its row is gone. */
IPOS_APART int fin_acknowledged(struct __sk_buff *skb, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s,
				struct ipos_endpoint *ep)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 state;

	ep->server_fin_acked = 1;
	/*
	 * The packet may take the socket into TIME_WAIT, where its four-tuple would block the
	 * next adoption for a minute.  A reset at exactly the next sequence number follows it
	 * into our own kernel (RFC 1337, the other way round); the iNIC keeps the closing state.
	 */
	if (ep->client_fin_seen && fin_is_in(skb, s, ep)) {
		state = kernel_state(skb, &s->tuple);
		if (state == BPF_TCP_CLOSING || state == BPF_TCP_FIN_WAIT1)
			reset_kernel(skb, set, s, segment_end(s));
		endpoint_end(skb, set, w, &s->tuple, ep, now);
		return 1;
	}
	if (s->flags & TCP_FIN &&
	    (s->seq == ep->rcv_nxt || kernel_received(skb, &s->tuple, s->seq)))
		reset_kernel(skb, set, s, segment_end(s));
	return 0;
}

/* A copy of the packet comes by once more, behind whatever is in the queue. */
IPOS_INLINE void come_again(struct __sk_buff *skb, const struct ipos_settings *set)
{
	skb->mark = IPOS_MARK;
	if (bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS))
		count(COUNT_DROP_EMIT);
	skb->mark = 0;
}

/*
 * Whether a RST of the client's is the end.  With the number our socket expects it is, even while
 * a process has the socket and TCP puts the packet off: nobody tells us when it is taken.  TCP
 * takes some with another number, such as the one of the client's FIN, or of a stream whose last
 * bytes are in one NAPI batch with it: we look again when it has seen this one.
 */
IPOS_APART int reset_taken(struct __sk_buff *skb, const struct segment *s)
{
	__u32 next;

	if (socket_expects(skb, &s->tuple, &next))
		return s->seq == next;
	return !kernel_has(skb, &s->tuple);
}

IPOS_APART int owned_attached(struct __sk_buff *skb, struct ipos_settings *set,
			      struct ipos_scratch *w, const struct segment *s,
			      struct ipos_endpoint *ep)
{
	int again = skb->mark == IPOS_MARK;
	__u64 now = bpf_ktime_get_boot_ns();

	if (again)
		skb->mark = 0;
	ep->last_seen_ns = now;
	if (ep->flags & IPOS_EP_MOVING)
		return moving(skb, set, w, s, now);
	if (s->flags & TCP_RST) {
		if (reset_taken(skb, s))
			endpoint_end(skb, set, w, &s->tuple, ep, now);
		else if (!again)
			come_again(skb, set);
		return TC_ACT_OK;
	}
	if (s->flags & TCP_SYN) {
		if (kernel_has(skb, &s->tuple))
			return TC_ACT_OK;	/* a challenge ACK will follow (RFC 5961) */
		endpoint_end(skb, set, w, &s->tuple, ep, now);
		return shot(COUNT_DROP_BAD_FLAGS);
	}
	follow_stretch(ep, s->seq + s->length);
	/* When our application has closed, our kernel resets what comes after. */
	if (!ep->server_fin_seen && follows(ep, s))
		return FOLLOW;
	if (ep->flags & IPOS_EP_WAITING && !ep->server_fin_seen)
		return waiting(skb, s, ep);
	if (s->flags & TCP_FIN)
		ep->client_fin = segment_end(s);
	if (ep->server_fin_seen && s->flags & TCP_ACK && !seq_before(s->ack, ep->server_fin) &&
	    fin_acknowledged(skb, set, w, s, ep))
		return TC_ACT_OK;
	if (s->flags & TCP_FIN)
		ep->client_fin_seen = 1;
	return TC_ACT_OK;
}

#define ADOPTION_NS 10000000ULL	/* by then a socket exists, or never will */

/* An endpoint given to us (or to ourselves) that has no socket yet. */
IPOS_INLINE int owned_unattached(struct __sk_buff *skb, struct ipos_settings *set,
				 struct ipos_scratch *w, const struct segment *s,
				 struct ipos_endpoint *ep)
{
	struct ipos_holding *h;
	int verdict;

	if (ep->state == IPOS_EP_PENDING && s->seq == ep->adopt_seq && s->length) {
		if (follows(ep, s) && request_alone(skb, w, s, ep))
			return shot(COUNT_DROP_EMIT);
		verdict = adopt_here(skb, set, w, s, ep);
		if (verdict == ADOPT_AGAIN)
			return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
		if (verdict == IPOS_REFUSE_NONE)
			return TC_ACT_OK;
		if (ep->giver != set->self)
			return shot(COUNT_DROP_NOT_ADOPTED);
	} else if (ep->giver != set->self) {
		return shot(COUNT_DROP_OUT_OF_ORDER);
	} else if (s->seq != ep->adopt_seq || !s->length) {
		/* In one NAPI batch with the packet that is being adopted, and behind it. */
		return ep->state == IPOS_EP_ADOPTING && !ep->reason && !follows(ep, s) ?
		       TC_ACT_OK : shot(COUNT_DROP_OUT_OF_ORDER);
	} else if (bpf_ktime_get_boot_ns() - ep->last_seen_ns < ADOPTION_NS) {
		return shot(COUNT_DROP_OUT_OF_ORDER);	/* a duplicate, too soon to tell */
	}
	/* Our own kernel did not take it: let another server. */
	count(COUNT_DROP_NOT_ADOPTED);
	count(COUNT_CHOSEN_AGAIN);
	request_begin(w, &ep->hs, ep->service, 1ULL << (set->self & 63));
	w->holding.again = IPOS_REASON_NOT_ADOPTED;
	bpf_map_delete_elem(&local, &s->tuple);
	traffic_add(set->self, 0, 1);
	h = bpf_map_lookup_elem(&holding, &s->tuple);
	if (!h)
		return first_segment(skb, set, w, s);
	h->refused |= w->holding.refused;
	h->again = IPOS_REASON_NOT_ADOPTED;
	return DECIDE_HELD;
}

/* ---- packets out of frames, first pass ------------------------------------------------------------ */

#define HANDSHAKE_NOTICES 4		/* nobody asks again for one that is lost */

/* Whether the first server is to hear how the packet fared. */
IPOS_INLINE int notice_due(const struct segment *s, const struct ipos_endpoint *ep)
{
	if (ep->flags & IPOS_EP_HANDSHAKE)	/* a reset is the end, which type 4 tells */
		return ep->reason < HANDSHAKE_NOTICES && !(s->flags & TCP_RST);
	return ep->state != IPOS_EP_ATTACHED && s->length &&
	       !seq_before(segment_end(s), ep->rcv_need);
}

/* Puts the packet on front's ingress, and behind it the notice that tells how it went. */
IPOS_APART int deliver(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		       const struct segment *s, const struct ipos_endpoint *ep)
{
	struct notice n = { .type = IPOS_ACKNOWLEDGEMENT };
	struct ipos_temporary *t;
	struct ipos_server *first;
	__u32 len;

	skb->mark = IPOS_MARK;
	if (ep) {
		if (!notice_due(s, ep))
			return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
		n.endpoint_ip = ep->endpoint_ip;
		n.endpoint_port = ep->endpoint_port;
		n.iss = ep->hs.iss;
		n.server = ep->giver;
	} else {
		t = bpf_map_lookup_elem(&temporary, &s->tuple);
		if (!t || t->state != IPOS_TEMP_SYN_HERE || s->flags & TCP_SYN)
			return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
		n.endpoint_ip = set->self_ip;
		n.endpoint_port = t->port;
		n.server = t->server;
	}
	first = server_at(n.server);
	if (!first || bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS))
		return shot(COUNT_DROP_EMIT);
	len = notice_write(set, w, &s->tuple, first->mac, &n);
	if (frame_becomes(skb, w, len))
		return shot(COUNT_DROP_EMIT);
	return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
}

/* ---- our own frames ---------------------------------------------------------------------------------- */

/* The notice that followed a packet into our kernel. */
IPOS_APART int notice_returns(struct __sk_buff *skb, struct ipos_settings *set,
			      struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = endpoint_of(t);
	struct notice n = { .type = IPOS_ACKNOWLEDGEMENT };
	struct ipos_server *first;
	__u32 len;

	if (!ep)
		return TC_ACT_SHOT;		/* a handshake that is not finished */
	n.endpoint_ip = ep->endpoint_ip;
	n.endpoint_port = ep->endpoint_port;
	n.iss = ep->hs.iss;
	first = server_at(ep->giver);
	if (!first)
		return shot(COUNT_DROP_EMIT);
	if (ep->state == IPOS_EP_ATTACHED) {
		if (ep->rcv_need != ep->adopt_seq && !kernel_received(skb, t, ep->rcv_need))
			return TC_ACT_SHOT;	/* the first server will offer it again */
		if (ep->flags & IPOS_EP_HANDSHAKE)
			ep->reason++;
	} else if (ep->flags & IPOS_EP_RETRIED && !(ep->flags & IPOS_EP_NOTICE_RETRIED)) {
		ep->flags |= IPOS_EP_NOTICE_RETRIED;
		return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
	} else if (ep->state == IPOS_EP_PENDING) {
		return TC_ACT_SHOT;		/* a piece before this one was lost: it comes again */
	} else {
		n.type = IPOS_REFUSED;
		n.reason = ep->reason ? ep->reason : IPOS_REFUSE_NOT_ADOPTED;
		bpf_map_delete_elem(&local, t);
		bpf_map_delete_elem(&connect, t);
		count(COUNT_REFUSED);
	}
	len = notice_write(set, w, t, first->mac, &n);
	if (frame_becomes(skb, w, len))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(set->back_ifindex, 0);
}

/* Type 1 for an endpoint that has its socket: one that comes back, or the offer repeated. */
IPOS_APART int connection_again(struct __sk_buff *skb, struct ipos_settings *set,
				       struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = endpoint_of(t);

	if (!ep || ep->state != IPOS_EP_ATTACHED || ep->flags & IPOS_EP_MOVING)
		return moved_on(skb, set, w, t);
	if (!kernel_received(skb, t, ep->rcv_need))
		return shot(COUNT_ABSORBED);	/* the held bytes follow */
	return notice_returns(skb, set, w, t);
}

/* Type 7, checked by XDP: the request is still held here, so choose again at once. */
IPOS_APART int choose_again(const struct ipos_tuple *t)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&forward, t);
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, t);

	if (!f || !h || f->acknowledged)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	h->refused |= 1ULL << (f->server & 63);
	h->again = IPOS_REASON_REFUSED;
	traffic_add(f->server, 0, 1);
	bpf_map_delete_elem(&forward, t);
	count(COUNT_CHOSEN_AGAIN);
	return DECIDE_HELD;
}

/* Fills in s->tuple.  A TC verdict, or DECIDE_HELD. */
IPOS_INLINE int own_frame(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			  struct segment *s)
{
	struct ipos_trailer *trailer = (void *)w->words + IPOS_HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_tuple *t = &s->tuple;

	if (bpf_skb_load_bytes(skb, s->l2, w->words, IPOS_HEADER_LEN + IPOS_TRAILER_LEN))
		return shot(COUNT_DROP_FRAME_SHORT);
	t->client_ip = h->client_ip;
	t->client_port = h->client_port;
	t->service_ip = trailer->service_ip;
	t->service_port = trailer->service_port;
	t->protocol = IPPROTO_TCP;
	if (unlikely(skb->mark == IPOS_MARK_LATE)) {
		skb->mark = 0;
		return head_late(t);
	}
	if (h->type == IPOS_ACKNOWLEDGEMENT && skb->mark == IPOS_MARK)
		return notice_returns(skb, set, w, t);
	if (h->type == IPOS_CONNECTION)
		return connection_again(skb, set, w, t);
	if (h->type == IPOS_ACKNOWLEDGEMENT || h->type == IPOS_MOVED)
		return moved_on(skb, set, w, t);
	if (h->type == IPOS_REFUSED)
		return choose_again(t);
	if (h->type == IPOS_PROBE_ANSWER)
		return TC_ACT_OK;		/* to the agent's socket */
	return shot(COUNT_DROP_FRAME_TYPE);
}

/* ---- nobody's yet -------------------------------------------------------------------------------------- */

/* Of a service that selects on connection, while its owner's kernel has not answered. */
IPOS_APART int syn_goes_on(struct __sk_buff *skb, struct ipos_settings *set,
			   struct ipos_scratch *w, const struct segment *s,
			   const struct ipos_temporary *t)
{
	struct ipos_server *owner = server_at(t->server);
	struct route r = { .server = t->server, .endpoint_port = t->port };

	if (owner)
		r.endpoint_ip = owner->address;
	return encapsulate_skb(skb, set, w, s, &r);
}

IPOS_INLINE int unowned(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			const struct segment *s, const struct ipos_address *a)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&forward, &s->tuple);
	struct ipos_service *service = service_at(a->service);
	struct ipos_temporary *t;
	struct ipos_holding *h;

	if (f)
		return given_away(skb, set, w, s, f);
	h = bpf_map_lookup_elem(&holding, &s->tuple);
	if (h && !segment_sound(skb, w, s))
		return TC_ACT_SHOT;
	if (h)
		return h->answer ? answered_segment(skb, set, w, s, h) :
				   hold_segment(skb, set, w, s, h);
	t = bpf_map_lookup_elem(&temporary, &s->tuple);
	if (!t || t->state == IPOS_TEMP_CLOSED || t->state == IPOS_TEMP_RESET)
		return TC_ACT_OK;		/* our kernel's own affair */
	if (t->state == IPOS_TEMP_SYN)
		return syn_goes_on(skb, set, w, s, t);
	if (t->state == IPOS_TEMP_SYN_HERE) {
		if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && service &&
		    assign_listener(skb, &s->tuple, service, t->port))
			return shot(COUNT_DROP_NOT_ADOPTED);
		return TC_ACT_OK;
	}
	if (t->state != IPOS_TEMP_OPEN || !s->length)
		return shot(COUNT_DROP_BAD_FLAGS);
	request_begin(w, &t->hs, a->service, 0);
	return first_segment(skb, set, w, s);
}

/* ---- every packet ------------------------------------------------------------------------------------------ */

/* Came out of a frame and has not been put on front's ingress yet. */
IPOS_INLINE int first_pass(const struct __sk_buff *skb, const struct ipos_settings *set,
			   const struct ipos_endpoint *ep)
{
	if (skb->mark == IPOS_MARK)
		return 0;
	if (skb->ifindex != set->front_ifindex)
		return 1;
	return ep && ep->giver != set->self && ep->state != IPOS_EP_ATTACHED;
}

/* A TC verdict, or what is to be done instead: DECIDE_HELD, GIVE_UP or FOLLOW. */
IPOS_INLINE int tcp_packet(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			   const struct segment *s)
{
	struct ipos_address *a = NULL;
	struct ipos_endpoint *ep;

	/* What XDP took out of a frame stands in front's VLAN, like what came in on front. */
	if (s->vlan != set->front_vlan)
		return TC_ACT_OK;
	ep = skb->ifindex == set->front_ifindex ? endpoint_of(&s->tuple) :
						  endpoint_on_back(&s->tuple);
	if (!ep) {
		a = address_of(s->tuple.service_ip, s->tuple.service_port);
		if (!a)
			return TC_ACT_OK;
	}
	if (skb->mark == IPOS_MARK_OURS) {
		skb->mark = 0;
		return TC_ACT_OK;
	}
	if (ep && ep->state == IPOS_EP_ATTACHED && (!notice_due(s, ep) ||
	    !first_pass(skb, set, ep))) {
		/* On back it is as good as on front now: firewalls know the connection. */
		bpf_skb_change_type(skb, PACKET_HOST);
		return owned_attached(skb, set, w, s, ep);
	}
	if (skb->mark == IPOS_MARK && s->flags & TCP_RST) {
		skb->mark = 0;
		return TC_ACT_OK;		/* to a TIME_WAIT socket: see reset_kernel() */
	}
	if (first_pass(skb, set, ep))
		return deliver(skb, set, w, s, ep);
	if (skb->mark == IPOS_MARK)
		skb->mark = 0;
	if (ep)
		return owned_unattached(skb, set, w, s, ep);
	return a ? unowned(skb, set, w, s, a) : TC_ACT_OK;
}

/* XDP's word for it, see pass_settled(). */
IPOS_INLINE int settled(const struct __sk_buff *skb)
{
	__u32 *meta = (void *)(long)skb->data_meta;
	void *data = (void *)(long)skb->data;

	return (void *)(meta + 1) <= data && (void *)(meta + 2) > data &&
	       *meta == IPOS_META_SETTLED;
}

IPOS_INLINE int ingress(struct __sk_buff *skb)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	struct ipos_settings *set = settings_now();
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	int verdict = TC_ACT_OK;
	enum parsed what;
	struct segment s;

	if (!w || !set || set->abi != IPOS_ABI)
		return TC_ACT_OK;
	if (skb->mark == IPOS_MARK_VOID)
		return TC_ACT_SHOT;
	what = parse_l2(data, end, set->ethertype, &s);
	if (what == PARSED_IPOS) {
		verdict = own_frame(skb, set, w, &s);
		goto decided;
	}
	if (unlikely((skb->mark == IPOS_MARK_TELL || skb->mark == IPOS_MARK_AFTER) &&
		     what == PARSED_IP && parse_ip(data, end, skb->len, &s) == PARSED_TCP))
		return learned_returns(skb, set, w, &s);
	if (what != PARSED_IP || !frame_to(data, end, set->front_mac))
		return TC_ACT_OK;		/* what a switch floods is not ours here either */
	if (skb->vlan_present)			/* the kernel has taken the tag out of the frame */
		s.vlan = skb->vlan_tci & 0xfff;
	what = parse_ip(data, end, skb->len, &s);
	if (what == PARSED_TCP)
		verdict = tcp_packet(skb, set, w, &s);
	else if (what == PARSED_ICMP && skb->ifindex != set->front_ifindex && s.vlan == set->front_vlan)
		return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
decided:
	if (verdict == FOLLOW)
		verdict = follow(skb, set, w, &s);
	if (verdict != DECIDE_HELD && verdict != GIVE_UP && verdict != ANSWER_HELD)
		return verdict;
	return decide_next(skb, set, w, &s.tuple, verdict);
}

SEC("tc")
int ipos_ingress(struct __sk_buff *skb)
{
	return settled(skb) ? TC_ACT_OK : ingress(skb);
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
