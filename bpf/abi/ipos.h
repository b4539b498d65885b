/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one truth for everything that the data plane shares with anyone else: constants,
 * the structs in the maps, the writer of each map and what happens when it is full.
 *
 * Byte order: a `__be16`, `__be32` or `__be64` holds wire bytes; every other integer is in host
 * order.  Structs have no implicit padding.  `make abi` writes src/ipos/abi from these headers.
 */
#ifndef IPOS_H
#define IPOS_H

#include "abi/limits.h"
#include "abi/verdict.h"
#include "abi/wire.h"
#include "abi/config.h"
#include "abi/member.h"
#include "abi/heard.h"
#include "abi/request.h"
#include "abi/connection.h"
#include "abi/flow.h"
#include "abi/event.h"
#include "abi/measured.h"

#endif /* IPOS_H */
