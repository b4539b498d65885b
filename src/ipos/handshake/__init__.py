# SPDX-License-Identifier: Apache-2.0
"""TCP segments as values, and the keys of the farm. Pure functions.

segment     IPv4 and TCP bytes <-> a value
options     TCP options: what a SYN offers, what a SYN-ACK agrees to
keys        the farm's secret -> the keys of frames, state and cookies
siphash     SipHash-2-4 and SipHash-1-3
"""
