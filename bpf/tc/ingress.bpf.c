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
#include "abi/verdict.h"
#include "tc/cookie_news.h"
#include "tc/line_in.h"
#include "tc/locating.h"
#include "tc/own_frame.h"
#include "tc/owned_packet.h"
#include "tc/syn.h"
#include "tc/to_box.h"
#if IPOS_FAMILY == 4
#include "tc/flow_frame.h"
#endif

/* ---- no row yet ----------------------------------------------------------------------------- */

/* Of a service that selects on connection, while its owner's kernel has not answered. */
IPOS_APART int syn_goes_on(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			   const struct segment *s, const struct ipos_temporary *t)
{
	struct ipos_server *owner = server_at(t->server);
	struct route r = { .server = t->server, .endpoint_port = t->port };

	if (owner)
		r.endpoint_ip = owner->address;
	return encapsulate_skb(skb, set, w, s, &r);
}

/* Nothing listens here: its first server is told, or chooses again if that is us. */
IPOS_APART int syn_refused(struct __sk_buff *skb, const struct ipos_settings *set,
			   struct ipos_scratch *w, const struct segment *s,
			   const struct ipos_temporary *t)
{
	struct notice n = { .type = IPOS_REFUSED,
			    .reason = IPOS_REFUSE_NO_LISTENER,
			    .endpoint_ip = set->self_ip,
			    .endpoint_port = t->port,
			    .server = t->server,
			    .iss = s->seq };

	count(COUNT_DROP_NOT_ADOPTED);
	if (n.server == set->self)
		return SYN_AGAIN;
	bpf_map_delete_elem(&FAMILY(temporary), &s->tuple);
	count(COUNT_REFUSED);
	notice_instead(skb, set, w, &s->tuple, &n);
	return CONSUMED;
}

IPOS_APART int unowned(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		       const struct segment *s)
{
	struct ipos_address *a = address_of(s->tuple.service_ip, s->tuple.service_port);
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), &s->tuple);
	struct ipos_service *service;
	struct ipos_question *q;
	struct ipos_temporary *t;
	struct ipos_holding *h;

	if (!a)
		return TC_ACT_OK;
	service = service_at(a->service);
	if (!service || !service->used)
		return TC_ACT_OK;
	if (f)
		return given_away(skb, set, w, s, f);
	h = bpf_map_lookup_elem(&FAMILY(holding), &s->tuple);
	if (h && !segment_sound(skb, w, s))
		return TC_ACT_SHOT;
	if (h)
		return h->answer ? ANSWERED_SEGMENT : hold_segment(skb, w, s, h);
	t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	/*
	 * A socket of our kernel's own, or an end since XDP looked: without a socket our kernel
	 * would send a reset, which is not its to send.
	 */
	if (!t || t->state == IPOS_TEMP_CLOSED || t->state == IPOS_TEMP_RESET ||
	    t->state == IPOS_TEMP_REFUSED) {
		q = bpf_map_lookup_elem(&FAMILY(questions), &s->tuple);
		if (unlikely(q && q->due))
			return question_ask(skb, set, w, s);
		return kernel_has(skb, &s->tuple) ? TC_ACT_OK : shot(COUNT_DROP_COOKIE_USED);
	}
	if (t->state == IPOS_TEMP_SYN)
		return syn_goes_on(skb, set, w, s, t);
	if (t->state == IPOS_TEMP_SYN_HERE) {
		if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
		    assign_listener(skb, &s->tuple, service, t->port))
			return syn_refused(skb, set, w, s, t);
		return TC_ACT_OK;
	}
	if (t->state != IPOS_TEMP_OPEN || !s->length)
		return shot(COUNT_DROP_BAD_FLAGS);
	request_begin(w, &t->hs, a->service);
	return FIRST_SEGMENT;
}

/* ---- every packet --------------------------------------------------------------------------- */

/* Came out of a frame and has not been put on front's ingress yet. */
IPOS_INLINE int first_pass(const struct __sk_buff *skb, const struct ipos_settings *set,
			   const struct ipos_endpoint *ep)
{
	if (skb->mark == IPOS_MARK)
		return 0;
	if (!is_front(set, skb->ifindex))
		return 1;
	return ep && ep->giver != set->self && ep->state != IPOS_EP_ATTACHED;
}

/* Whether a packet for an endpoint of ours is only taken note of, whatever other CPUs do. */
IPOS_INLINE int is_noted(const struct ipos_settings *set, const struct ipos_endpoint *ep,
			 const struct segment *s)
{
	return !may_join(set, ep, s) && ep->state == IPOS_EP_ATTACHED && !ep->server_fin_seen &&
	       !follows(ep, s) && !(ep->flags & (IPOS_EP_WAITING | IPOS_EP_MOVING)) &&
	       !(s->flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

/*
 * The endpoint of a packet, if it is ours.  Unless it is only taken note of, the connection is
 * locked: w->locked.  A packet of no service is not: there is no endpoint then, and no lock.
 */
IPOS_APART struct ipos_endpoint *endpoint_locked(const struct ipos_settings *set,
						 struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_endpoint *ep = endpoint_of(&s->tuple);

	if (ep ? is_noted(set, ep, s) : !address_of(s->tuple.service_ip, s->tuple.service_port))
		return ep;
	w->locked = connection_lock(&s->tuple) ? LOCKED : LOCK_BUSY;
	return endpoint_of(&s->tuple); /* as it is now */
}

/* A TC verdict, or what is to be done instead: see abi/verdict.h. */
IPOS_INLINE int tcp_packet(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			   const struct segment *s)
{
	struct ipos_endpoint *ep;

	/* What XDP took out of a frame stands in front's VLAN, like what came in on front. */
	if (s->vlan != set->front_vlan)
		return TC_ACT_OK;
	if (unlikely(set->flags & IPOS_BOXES))
		box_find(skb, &s->tuple);
	if (skb->mark == IPOS_MARK_OURS) {
		skb->mark = 0;
		return TC_ACT_OK;
	}
	ep = endpoint_locked(set, w, s);
	if (w->locked == LOCK_BUSY)
		return shot(COUNT_DROP_BUSY);
	if (!ep && w->locked == LOCK_NONE)
		return TC_ACT_OK;
	if (unlikely(ep && is_asked(skb, s, ep)))
		return question_answer(skb, set, w, s, ep);
	if (unlikely(ep && ep->line.length))
		line_note(skb, w, s, ep);
	reading_begin(&w->reading, skb->mark);
	w->ours = skb->mark == IPOS_MARK_PIECE ? OURS_PIECE
		  : skb->mark == IPOS_MARK     ? OURS_AGAIN
					       : OURS_NOT;
	if (w->reading.rounds || w->ours == OURS_PIECE)
		skb->mark = 0;
	w->round = 0;
	if (skb->mark - IPOS_MARK_ROUND < IPOS_ROUNDS) {
		w->round = skb->mark - IPOS_MARK_ROUND + 1;
		skb->mark = IPOS_MARK;
	}
	if (ep && ep->state == IPOS_EP_ATTACHED &&
	    (!notice_due(s, ep) || !first_pass(skb, set, ep))) {
		/* On back it is as good as on front now: firewalls know the connection. */
		bpf_skb_change_type(skb, PACKET_HOST);
		return owned_attached(skb, set, w, s, ep);
	}
	if (skb->mark == IPOS_MARK && s->flags & TCP_RST) {
		skb->mark = 0; /* to a TIME_WAIT socket: see reset_kernel() */
		return w->round ? reset_behind(skb, set, w, s) : TC_ACT_OK;
	}
	if (w->reading.rounds) /* and its endpoint has gone, or did not come */
		return shot(COUNT_DROP_OUT_OF_ORDER);
	if (first_pass(skb, set, ep))
		return deliver(skb, set, w, s, ep);
	return ep ? owned_unattached(skb, set, w, s, ep) : unowned(skb, set, w, s);
}

/* XDP's word for it, see pass_settled(). */
IPOS_INLINE int settled(const struct __sk_buff *skb)
{
	__u32 *meta = (void *)(long)skb->data_meta;
	void *data = (void *)(long)skb->data;

	return (void *)(meta + 1) <= data && (void *)(meta + 2) > data &&
	       *meta == IPOS_META_SETTLED;
}

/* follow(), and what a FIN that our kernel gets with it does. */
IPOS_INLINE int follow_whole(struct __sk_buff *skb, struct ipos_settings *set,
			     struct ipos_scratch *w, const struct segment *s)
{
	int verdict = follow(skb, w, s);
	struct ipos_endpoint *ep;

	if (verdict != PASS_WHOLE)
		return verdict;
	ep = endpoint_of(&s->tuple);
	return ep ? closing(skb, set, w, s, ep) : TC_ACT_OK;
}

/*
 * Whether a frame of ours is about something else than a connection of this family: a UDP flow, or
 * the other family's.  Its verdict goes to `*verdict`.
 */
IPOS_INLINE int is_other_frame(struct __sk_buff *skb, const struct segment *s, int *verdict)
{
	__u8 protocol = 0;
	int failed = bpf_skb_load_bytes(skb, s->l2 + offsetof(struct ipos_header, protocol),
					&protocol, 1);

#if IPOS_FAMILY == 6
	*verdict = PASS_OTHER;
	return failed || protocol != FAMILY_TCP;
#else
	if (failed || protocol != IPOS_UDP)
		return 0;
	*verdict = flow_frame(skb, s->l2, s->vlan);
	return 1;
#endif
}

/* What a switch floods is not ours here either. */
IPOS_INLINE int is_ours(const struct __sk_buff *skb, const struct ipos_settings *set)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (frame_to(data, end, set->front_mac))
		return 1;
	for (__u32 i = 0; i < IPOS_UPLINKS_MAX && i < set->uplinks; i++)
		if (frame_to(data, end, set->uplink[i].mac))
			return 1;
	return 0;
}

/* A packet to us that is no TCP. */
IPOS_INLINE int other_packet(struct __sk_buff *skb, const struct ipos_settings *set,
			     const struct segment *s, enum parsed what)
{
	int verdict;

	if (what == PARSED_ICMP && !is_front(set, skb->ifindex) && s->vlan == set->front_vlan)
		return bpf_redirect(front_of(set, s->tuple.service_ip), BPF_F_INGRESS);
#if IPOS_FAMILY == 4
	if (unlikely(set->flags & IPOS_BOXES) && what == PARSED_ICMP &&
	    (verdict = icmp_to_box(skb, s->l2, s->vlan)) != TC_ACT_OK)
		return verdict;
	if (set->flags & IPOS_FLOWS && s->vlan == set->front_vlan)
		return what == PARSED_ICMP		  ? flow_icmp(skb, s->l2)
		       : s->tuple.protocol == IPPROTO_UDP ? flow_packet(skb, s->l2)
							  : TC_ACT_OK;
	return TC_ACT_OK;
#else
	(void)verdict;
	return PASS_OTHER;
#endif
}

IPOS_INLINE int ingress(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	int verdict = TC_ACT_OK;
	enum parsed what;
	SEGMENT(s, w);

	if (skb->mark == IPOS_MARK_VOID)
		return TC_ACT_SHOT;
	skb->cb[IPOS_CB_NETNS] = skb->cb[IPOS_CB_BOX] = 0;
	w->line.length = 0;
	w->locked = LOCK_NONE;
	what = parse_l2(data, end, set->ethertype, s);
	/*
	 * XDP drops nested tags; but a NIC may have taken the outer one off before XDP saw the
	 * frame.
	 */
	if (unlikely(what == PARSED_TAGS || (skb->vlan_present && s->vlan)))
		return shot(COUNT_DROP_VLAN_TAGS);
	if (skb->vlan_present) /* the kernel has taken the tag out of the frame */
		s->vlan = skb->vlan_tci & 0xfff;
	if (what == PARSED_IPOS) {
		if (is_other_frame(skb, s, &verdict))
			return verdict;
		verdict = own_frame(skb, set, w, s);
		goto decided;
	}
	if (unlikely((skb->mark == IPOS_MARK_TELL || skb->mark == IPOS_MARK_AFTER) &&
		     what == PARSED_IP && parse_ip(data, end, skb->len, s) == PARSED_TCP))
		return learned_returns(skb, set, w, s);
	if (what != PARSED_IP || !is_ours(skb, set))
		return PASS_OTHER;
	what = parse_ip(data, end, skb->len, s);
	if (what != PARSED_TCP)
		return other_packet(skb, set, s, what);
	verdict = tcp_packet(skb, set, w, s);
decided:
	if (verdict == FOLLOW)
		verdict = follow_whole(skb, set, w, s);
	if (verdict == SYN_AGAIN)
		verdict = syn_again(skb, set, w, &s->tuple);
	if (verdict == FIRST_SEGMENT)
		verdict = first_segment(skb, w, s);
	if (verdict == ANSWERED_SEGMENT)
		verdict = answered_segment(skb, set, w, s);
	if (verdict == DECIDE_HELD || verdict == GIVE_UP || verdict == ANSWER_HELD ||
	    verdict == OFFER)
		verdict = decide_next(skb, set, w, &s->tuple, verdict);
	else if (unlikely(verdict == TC_ACT_OK && w->line.length))
		verdict = line_to_kernel(skb, w, s);
	if (w->locked == LOCKED)
		connection_unlock(&s->tuple);
#if IPOS_FAMILY == 4
	if (unlikely(skb->cb[IPOS_CB_BOX]) && verdict == TC_ACT_OK)
		return to_box(skb, s->vlan);
#endif
	return verdict;
}

SEC("tc")
int FAMILY(ipos_ingress)(struct __sk_buff *skb)
{
	struct ipos_scratch *w;
	struct ipos_settings *set;

	if (settled(skb))
		return TC_ACT_OK;
	w = scratch_of(IPOS_PROG_INGRESS);
	set = settings_now();
	return w && set && set->abi == IPOS_ABI ? ingress(skb, set, w) : PASS_OTHER;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
