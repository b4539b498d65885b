# SPDX-License-Identifier: Apache-2.0
"""The agent's view as Prometheus metrics.

Labels come from closed sets: the counters and reasons of the data plane, the members of the farm,
the tables, the outcomes of datagrams. Nothing that a client sends is ever one.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ipos import __version__
from ipos.abi.layout import constant, header
from ipos.abi.rows import KeyValid, Server, ServerState
from ipos.agent.view import measures
from ipos.agent.view.report import connections, programs, troubles
from ipos.agent.view.session_list import has_sessions, session_counts
from ipos.agent.view.table_views import STATES, View, service_list
from ipos.handshake.keys import EPOCH_S, epoch_of

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


def keys_ahead_s(view: View) -> int:
    """Seconds from now for which all cookie keys are loaded; they are written in order."""
    slots, keys = constant("IPOS_EPOCHS"), view.tables.cookie_keys
    now = epoch_of(view.wall_s(view.now_ns))

    def is_there(epoch: int) -> bool:
        row = keys.get(epoch % slots)
        return row is not None and row.epoch == epoch and KeyValid.VALID in row.valid

    ahead = bisect_left(range(slots), 1, key=lambda n: not is_there(now + n))
    return ahead * EPOCH_S


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
        yield from self._services()
        yield from self._own()
        yield from self._addresses()
        yield from self._sessions()
        yield from measures.metrics(self._view)
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
            "Decisions by a short code of their reason; what policies chose is the rest of "
            "ipos_packets' served_here and migrated",
            labels=["reason"],
        )
        for reason, name in _COUNTED.items():
            family.add_metric([reason.lower()], counters[name])
        for refusal in header().ambiguities:
            too_long = refusal.name == "TOO_LONG"  # which is a drop, answered otherwise
            name = "DROP_HEAD_TOO_LONG" if too_long else f"AMBIGUOUS_{refusal.name}"
            family.add_metric([f"head_{refusal.name.lower()}"], counters[name])
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
                ("available_bandwidth_bytes_per_second", "What its front link has left"),
                ("age_seconds", "Since the server last spoke"),
                ("stale", "1 when the server has been silent for half a second"),
                ("faulty", "1 while a fault keeps the server from serving: `ipos status`"),
                ("clock_offset_seconds", "This server's clock minus that server's"),
            )
        }
        short = GaugeMetricFamily(
            "ipos_server_shortage",
            "How much of it is gone, 0 to 1, as `least-loaded` reckons; 0 where there is enough",
            labels=["server", "of"],
        )
        said = {one.index: one for one in self._view.snapshot.servers}
        for index, server in self._view.servers():
            one = said.get(index)
            name = one.server if one is not None and one.server else str(server.back_ip)
            for each, word in STATES.items():
                state.add_metric([name, str(word)], each == server.state)
            gauges["connections"].add_metric([name], server.tcp_connections)
            gauges["cpu_utilisation"].add_metric([name], server.cpu_permille / 1000)
            gauges["available_memory_bytes"].add_metric([name], server.memory_available)
            gauges["available_bandwidth_bytes_per_second"].add_metric(
                [name], server.bandwidth_available / 8
            )
            for what in ("cpu", "memory", "bandwidth"):
                short.add_metric([name, what], _gone(server, what))
            gauges["age_seconds"].add_metric([name], self._view.age_s(server.updated_ns))
            gauges["stale"].add_metric([name], server.stale)
            gauges["faulty"].add_metric([name], one is not None and bool(one.fault))
            apart_ms = one.apart_ms if one is not None else 0
            gauges["clock_offset_seconds"].add_metric([name], apart_ms / 1000)
        yield state
        yield short
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

    def _sessions(self) -> Iterator[Metric]:
        if not has_sessions(self._view):
            return
        family = GaugeMetricFamily(
            "ipos_sessions", "Identified sessions that live, by their server", labels=["server"]
        )
        for name, count in session_counts(self._view).items():
            family.add_metric([name], count)
        yield family

    def _services(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "ipos_service_servers", "Servers that may get its connections", labels=["service"]
        )
        here = GaugeMetricFamily(
            "ipos_service_served_here",
            "1 when this server serves it: its application listens and its check is well",
            labels=["service"],
        )
        up = GaugeMetricFamily(
            "ipos_service_servers_ready", "Those of them that are ready", labels=["service"]
        )
        healthy = GaugeMetricFamily(
            "ipos_service_check_healthy",
            "1 when this server's application is well, for services with a check",
            labels=["service"],
        )
        snapshot = self._view.snapshot
        served = snapshot.services_of(snapshot.me)
        states = {str(row.address): row.state for _, row in self._view.servers()}
        for row in service_list(self._view):
            ready.add_metric([row["service"]], len(row["servers"]))
            is_up = [states.get(address) is ServerState.READY for address in row["servers"]]
            up.add_metric([row["service"]], sum(is_up))
            here.add_metric([row["service"]], row["service"] in served)
        for name, trouble in snapshot.checks.items():
            healthy.add_metric([name], not trouble)
        yield ready
        yield up
        yield here
        yield healthy

    def _own(self) -> Iterator[Metric]:
        """About this agent and what it found wrong, which `ipos status` says in words."""
        snapshot = self._view.snapshot
        build = GaugeMetricFamily("ipos_build_info", "Always 1", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        gauges = {
            "ipos_faults": ("Faults that ipos status names", len(troubles(snapshot))),
            "ipos_programs_current": (
                "1 when the loaded programs are those of this version",
                programs(self._view) == "current",
            ),
            "ipos_config_last_reload_successful": (
                "0 when the changed configuration was not taken",
                not snapshot.refused,
            ),
        }
        for name, (help_, value) in gauges.items():
            yield GaugeMetricFamily(name, help_, value=value)
        yield GaugeMetricFamily(
            "ipos_config_last_reload_success_timestamp_seconds",
            "When the configuration was taken last",
            value=snapshot.taken_s,
        )
        yield GaugeMetricFamily(
            "ipos_cookie_keys_ahead_seconds",
            "For how long the data plane has keys of handshakes if the agent dies now",
            value=keys_ahead_s(self._view),
        )
        yield CounterMetricFamily(
            "ipos_config_readings", "How often the configuration was read", value=snapshot.loaded
        )

    def _datagrams(self) -> Metric:
        family = CounterMetricFamily(
            "ipos_state_datagrams", "What became of state datagrams", labels=["outcome"]
        )
        for outcome, count in self._view.snapshot.datagrams.items():
            family.add_metric([outcome], count)
        return family

    def _addresses(self) -> Iterator[Metric]:
        changes = CounterMetricFamily(
            "ipos_address_changes",
            "Service addresses that this server has taken or given up, which are those that it "
            "announces to routers where they are told, and those that another machine on front "
            "has answered for",
            labels=["change"],
        )
        snapshot = self._view.snapshot
        for change in ("taken", "given_up", "answered_elsewhere"):
            changes.add_metric([change], snapshot.address_changes.get(change, 0))
        held = GaugeMetricFamily(
            "ipos_addresses_held",
            "Service addresses that this server answers for on front, or announces to routers",
        )
        held.add_metric([], sum(one.holder == snapshot.me for one in snapshot.addresses))
        yield changes
        yield held

    def _access_log(self) -> Metric:
        family = CounterMetricFamily(
            "ipos_access_log_lines", "Lines of the access log, written or lost", labels=["outcome"]
        )
        for outcome, count in self._view.snapshot.access_log.items():
            family.add_metric([outcome], count)
        return family


def _gone(server: Server, what: str) -> float:
    if what == "cpu":
        return server.cpu_permille / 1000
    return (server.memory_short if what == "memory" else server.bandwidth_short) / 100
