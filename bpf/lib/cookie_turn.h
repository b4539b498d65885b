/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which of two rows of one identified session is the newer one.  All servers must say the same, in
 * whatever order they hear of them, so that each ends with the same row, and none tells it again.
 */
#ifndef IPOS_COOKIE_TURN_H
#define IPOS_COOKIE_TURN_H

#include "lib/maps.h"

IPOS_INLINE int cookie_newer(const struct ipos_cookie *known, const struct ipos_cookie *told)
{
	if (told->turn != known->turn)
		return told->turn > known->turn;
	if (told->server_ip != known->server_ip)
		return bpf_ntohl(told->server_ip) > bpf_ntohl(known->server_ip);
	return told->expires_ns > known->expires_ns;
}

#endif /* IPOS_COOKIE_TURN_H */
