# SPDX-License-Identifier: Apache-2.0
"""The TCP handshake without state: options, keys, cookies, SYN-ACK. Pure functions.

segment     IPv4 and TCP bytes <-> a value
options     TCP options: what a SYN offers, what a SYN-ACK agrees to
keys        the farm's secret -> the keys of frames, state and cookies
cookies     a SYN -> the sequence number and timestamp that carry it; an ACK -> the handshake
answers     the segments that an unattached endpoint sends, byte for byte
unattached  what an endpoint without an application does, as a table
"""
