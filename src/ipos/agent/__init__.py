# SPDX-License-Identifier: Apache-2.0
"""The daemon of one server: it tells the data plane what is so, and is never on a packet's way.

message    one server's state as an authenticated datagram      pure
members    what the others said, how old it is, what to believe  pure
plan       configuration and members -> the maps' rows           pure
listeners  listening sockets, from the kernel
host       load, memory and bandwidth of this machine
network    addresses, routes and settings of the kernel, and back again
writer     rows -> maps, only what has changed
views      the maps and what members advertised -> Figure 12's rows
explain    which server a request would get, and why
events     connections as they are decided
metrics    all of it for Prometheus
api        HTTP's requests -> the above; apiserver is its socket, control its hold on the agent
notify     what systemd is told
daemon     the loop that joins them
"""
