# SPDX-License-Identifier: Apache-2.0
"""Where a request head ends, across any number of segments. Pure functions.

head          bytes -> the grammar and the head's end
tls           where a ClientHello ends, its server name and protocols
h2            where a first flight of HTTP/2 ends, and what it asks for
hpack         header blocks of HTTP/2 -> fields
window        segments in any order -> the bytes in order, within bounds
acknowledge   when an unattached endpoint acknowledges what it holds
endpoint      one segment at one unattached endpoint -> its new state and the answer
"""
