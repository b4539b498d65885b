/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Puts the cookie that begins a session into an application's first response, before TCP
 * numbers its bytes.  It runs whenever the application sends, on sockets in `inserting` only.
 */
#include "core/insert.h"
#include "endpoints.h"

#define INSERT_SCAN 1024		/* bytes of one write that are looked at */

/* Steps over what is sent; returns how many bytes come before the place. */
IPOS_INLINE __u32 insert_scan(struct sk_msg_md *msg, struct ipos_endpoint *ep)
{
	__u8 *data = msg->data, *end = msg->data_end;

	for (__u32 i = 0; i < INSERT_SCAN; i++) {
		if (ep->insert == IPOS_INSERT_HERE || ep->insert == IPOS_INSERT_DONE ||
		    data + i + 1 > end)
			return i;
		insert_step(ep, data[i]);
	}
	return INSERT_SCAN;
}

/* The line's bytes into the room that was made for them. */
IPOS_INLINE int insert_write(struct sk_msg_md *msg, const struct ipos_session *session,
			     const __u8 value[IPOS_SESSION_VALUE_LEN])
{
	__u8 *data = msg->data, *end = msg->data_end;
	__u32 at = session->value_at;

	for (__u32 i = 0; i < IPOS_SESSION_LINE_MAX && i < session->line_len; i++) {
		if (data + i + 1 > end)
			return -1;
		data[i] = session->line[i];
	}
	if (at > IPOS_SESSION_LINE_MAX - IPOS_SESSION_VALUE_LEN ||
	    data + at + IPOS_SESSION_VALUE_LEN > end)
		return -1;
	__builtin_memcpy(data + at, value, IPOS_SESSION_VALUE_LEN);
	return 0;
}

IPOS_INLINE int insert_line(struct sk_msg_md *msg, const struct ipos_session *session, __u32 at)
{
	struct ipos_settings *set = settings_now();
	__u8 value[IPOS_SESSION_VALUE_LEN];
	__u32 len = session->line_len;

	if (!set || !len || len > IPOS_SESSION_LINE_MAX ||
	    !insert_value(set, bpf_ktime_get_boot_ns(), value) ||
	    bpf_msg_push_data(msg, at, len, 0)) {
		count(COUNT_SESSION_UNTOLD);
		return SK_PASS;
	}
	/* The room is made: bytes that are no line of a response must not leave. */
	if (bpf_msg_pull_data(msg, at, at + len, 0) || insert_write(msg, session, value)) {
		count(COUNT_SESSION_UNTOLD);
		return SK_DROP;
	}
	count(COUNT_SESSION_BEGUN);
	return SK_PASS;
}

SEC("sk_msg")
int ipos_insert(struct sk_msg_md *msg)
{
	struct ipos_tuple t = {
		.client_ip = msg->remote_ip4, .client_port = msg->remote_port >> 16,
		.service_ip = msg->local_ip4, .service_port = bpf_htons(msg->local_port),
		.protocol = IPPROTO_TCP,
	};
	__u32 size = msg->size, at = 0;
	struct ipos_session *session;
	struct ipos_endpoint *ep;

	ep = bpf_map_lookup_elem(&local, &t);
	if (!ep)
		ep = bpf_map_lookup_elem(&connect, &t);
	if (!ep || ep->insert == IPOS_INSERT_NONE || ep->insert == IPOS_INSERT_DONE)
		return SK_PASS;
	session = session_at(ep->service);
	if (!session || session->kind != IPOS_SESSION_INSERT) {
		ep->insert = IPOS_INSERT_DONE;
		return SK_PASS;
	}
	if (ep->insert != IPOS_INSERT_HERE) {
		if (bpf_msg_pull_data(msg, 0, size < INSERT_SCAN ? size : INSERT_SCAN, 0)) {
			ep->insert = IPOS_INSERT_DONE;
			count(COUNT_SESSION_UNTOLD);
			return SK_PASS;
		}
		at = insert_scan(msg, ep);
		if (ep->insert == IPOS_INSERT_DONE)
			return SK_PASS;
		if (ep->insert != IPOS_INSERT_HERE) {
			if (at < size) {	/* more interim bytes than anybody sends */
				ep->insert = IPOS_INSERT_DONE;
				count(COUNT_SESSION_UNTOLD);
			}
			return SK_PASS;
		}
		if (at >= size)			/* the line goes before what is sent next */
			return SK_PASS;
	}
	ep->insert = IPOS_INSERT_DONE;
	return insert_line(msg, session, at);
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
