# SPDX-License-Identifier: Apache-2.0
"""Chooses a server: policies over the candidates of a pool. Pure functions.

candidates  server rows -> the servers that could take a request, and the load of each
policies    candidates, and what a request brings -> a server and the reason
source      servers and weights -> the table of source-hash, and a client's way through it
outlook     every decision that could come out now, for people who ask why
urlmap      rules, host and path -> the rule that gives the pool
urlpath     a path as rules see it
"""
