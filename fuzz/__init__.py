# SPDX-License-Identifier: Apache-2.0
"""Random packets against two judges: the C core and the Python oracle, or the C core twice.

    python -m fuzz [--oracle N] [--kernel N] [--seed S] [--jobs J]

clients     random clients: handshakes, requests in any segmentation, stray and damaged packets
endpoints   the native library against `spec.requests.endpoint`, packet by packet
frames      frames of Figure 11, sound and damaged, against `ipos.wire`
selection   the policies against `ipos.selection`
approved_live  what real sockets of a lab received, against what its data planes approved
kernel      eBPF by BPF_PROG_TEST_RUN against the native library: same verdict, same bytes

One seed replays any failure: a report names the seed of its session and what came before.
"""
