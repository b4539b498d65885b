# SPDX-License-Identifier: Apache-2.0
"""`ipos demo`: a farm at work in under a minute.

story      the order of things: build, capture one connection, load, drain a server, report
traffic    the client: `python -m ipos.demo.traffic`, in the client's namespace
tally      what a client has seen, as a value that travels as one line of JSON
farm       what the servers' tables hold at a moment
recording  one connection's frames, captured on every server and read by `ipos.wire`
ladder     those frames drawn
screen     the live view on a terminal, or plain lines elsewhere
report     the last word: text or one JSON object
"""
