# SPDX-License-Identifier: Apache-2.0
"""The TCP handshake without state, and an endpoint without an application. Pure functions.

cookies     a SYN -> the sequence number and timestamp that carry it; an ACK -> the handshake
answers     the segments that an unattached endpoint sends, byte for byte
unattached  what an endpoint without an application does, as a table
"""
