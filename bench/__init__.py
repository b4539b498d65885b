# SPDX-License-Identifier: Apache-2.0
"""What the farm costs: paired measurements against a direct connection and against HAProxy.

`make bench` runs all suites in full, `make bench BENCH_ARGS=--quick` all of them in a few minutes.

    connections   wrk, every request on a new connection: requests per second
    keep-alive    wrk, connections kept: requests per second
    download      curl, 100 MB each on a new connection: CPU seconds per GB

Each suite brings up two labs, one with ipOS and one bare, side by side. In every arm the same
application answers, one nginx; what differs is the way to it. The arms are run in turn,
round after round, so that whatever else the machine does hits all of them alike; the result is the
median of the rounds' ratios, with an interval. Nothing is asserted: numbers are for people.
"""
