# SPDX-License-Identifier: Apache-2.0
"""The agent's view as Prometheus metrics.

Labels come from closed sets: the counters and reasons of the data plane, the members of the farm,
the tables, the outcomes of datagrams. Nothing that a client sends is ever one.
"""

import os
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ipos.agent.report import connections
from ipos.agent.views import STATES, View
from ipos.inic.decisions import reasons, refused
from ipos.inic.layout import constant, header

_COUNTED = {
    "SESSION": "SESSION_KEPT",
    "SESSION_MOVED": "SESSION_MOVED",
    "SESSION_AWAY": "SESSION_ELSEWHERE",
    "REDIRECTED": "REDIRECTED",
    "NO_SERVER": "DROP_NO_SERVER",
    "TIMEOUT": "HEAD_TIMEOUT",
}
"""Reasons that the data plane counts by themselves, and its counters."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(view: View, limits: Mapping[str, int]) -> bytes:
    """All metrics in the text format. `limits` are the sizes of the tables of `connections`."""
    registry = CollectorRegistry()
    registry.register(_Collector(view, limits))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, view: View, limits: Mapping[str, int]) -> None:
        self._view = view
        self._limits = limits

    def describe(self) -> list[Metric]:
        """Nothing beforehand: asking for the real thing would read all tables twice."""
        return []

    def collect(self) -> Iterator[Metric]:
        counters = {counter.name: value for counter, value in self._view.tables.counters()}
        yield self._counters(counters)
        yield self._decisions(counters)
        yield from self._servers()
        yield from self._tables()
        yield self._datagrams()
        yield self._access_log()
        used = os.times()
        yield CounterMetricFamily(
            "ipos_agent_cpu_seconds", "CPU time of the agent", value=used.user + used.system
        )

    def _counters(self, counters: Mapping[str, int]) -> Metric:
        family = CounterMetricFamily(
            "ipos_packets", "What the data plane has done and dropped", labels=["counter"]
        )
        for name, value in counters.items():
            family.add_metric([name.lower()], value)
        return family

    def _decisions(self, counters: Mapping[str, int]) -> Metric:
        family = CounterMetricFamily(
            "ipos_decisions",
            "Decisions by reason, in the words of ipos explain and watch; what policies chose is "
            "the rest of ipos_packets' served_here and migrated",
            labels=["reason"],
        )
        for reason, name in _COUNTED.items():
            family.add_metric([reasons()[constant(f"IPOS_REASON_{reason}")]], counters[name])
        for refusal in header().ambiguities:
            too_long = refusal.name == "TOO_LONG"  # which is a drop, answered otherwise
            name = "DROP_HEAD_TOO_LONG" if too_long else f"AMBIGUOUS_{refusal.name}"
            family.add_metric([refused(refusal)], counters[name])
        return family

    def _servers(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "ipos_server_state", "1 for the state a server is in", labels=["server", "state"]
        )
        gauges = {
            name: GaugeMetricFamily(f"ipos_server_{name}", help_, labels=["server"])
            for name, help_ in (
                ("connections", "TCP connections, as the server said"),
                ("cpu_utilisation", "CPU utilisation, 0 to 1"),
                ("available_memory_bytes", "Memory the server has left"),
                ("age_seconds", "Since the server last spoke"),
                ("stale", "1 when the server has been silent for half a second"),
            )
        }
        said = {one.index: one.server for one in self._view.snapshot.servers}
        for index, server in self._view.servers():
            name = said.get(index) or str(server.back_ip)
            for each, word in STATES.items():
                state.add_metric([name, str(word)], each == server.state)
            gauges["connections"].add_metric([name], server.tcp_connections)
            gauges["cpu_utilisation"].add_metric([name], server.cpu_permille / 1000)
            gauges["available_memory_bytes"].add_metric([name], server.memory_available)
            gauges["age_seconds"].add_metric([name], self._view.age_s(server.updated_ns))
            gauges["stale"].add_metric([name], server.stale)
        yield state
        yield from gauges.values()

    def _tables(self) -> Iterator[Metric]:
        fill = GaugeMetricFamily("ipos_table_rows", "Rows in a table", labels=["table"])
        most = GaugeMetricFamily("ipos_table_rows_limit", "Rows it can hold", labels=["table"])
        for name, count in connections(self._view).items():
            fill.add_metric([name], count)
        for name, limit in self._limits.items():
            most.add_metric([name], limit)
        yield fill
        yield most

    def _datagrams(self) -> Metric:
        family = CounterMetricFamily(
            "ipos_state_datagrams", "What became of state datagrams", labels=["outcome"]
        )
        for outcome, count in self._view.snapshot.datagrams.items():
            family.add_metric([outcome], count)
        return family

    def _access_log(self) -> Metric:
        family = CounterMetricFamily(
            "ipos_access_log_lines", "Lines of the access log, written or lost", labels=["outcome"]
        )
        for outcome, count in self._view.snapshot.access_log.items():
            family.add_metric([outcome], count)
        return family
