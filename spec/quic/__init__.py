# SPDX-License-Identifier: Apache-2.0
"""QUIC, as far as a client's first flight: written from the RFCs, independently of `bpf/quic`."""
