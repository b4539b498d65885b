# SPDX-License-Identifier: Apache-2.0
"""Writes packaging/grafana/ipos.json, the dashboard for Grafana, from the table of its panels.

python -m scripts.grafana
"""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "packaging" / "grafana" / "ipos.json"
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_IN = '{instance=~"$instance"}'


def _quantiles(histogram: str) -> tuple[tuple[str, str], ...]:
    """The median and the 99th percentile of a histogram, of each service."""
    rate = f"sum by (service, le) (rate({histogram}_bucket{_IN}[$__rate_interval]))"
    return tuple(
        (f"histogram_quantile({part}, {rate})", f"{{{{service}}}} {name}")
        for part, name in (("0.5", "median"), ("0.99", "p99"))
    )


PANELS: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    # title, kind, unit, then pairs of an expression and a legend
    ("Faults", "stat", "none", ((f"sum(ipos_faults{_IN})", "faults"),)),
    ("Servers ready", "stat", "none",
     (('count(max by (server) (ipos_server_state{state="ready"}) == 1)', "ready"),)),
    ("Servers per service", "stat", "none",
     (("max by (service) (ipos_service_servers_ready)", "{{service}}"),)),
    ("Connections decided", "timeseries", "cps",
     ((('sum by (counter) (rate(ipos_packets_total{counter=~"served_here|migrated",'
       'instance=~"$instance"}[$__rate_interval]))'), "{{counter}}"),)),
    ("Refusals and sessions, by reason", "timeseries", "cps",
     ((f"sum by (reason) (rate(ipos_decisions_total{_IN}[$__rate_interval])) > 0", "{{reason}}"),)),
    ("Requests of services", "timeseries", "reqps",
     ((("sum by (service, outcome) (rate(ipos_service_decisions_total"
       f"{_IN}[$__rate_interval])) > 0"), "{{service}} {{outcome}}"),)),
    ("Refusals of services, by answer", "timeseries", "reqps",
     ((("sum by (service, answer) (rate(ipos_service_refusals_total"
       f"{_IN}[$__rate_interval])) > 0"), "{{service}} {{answer}}"),)),
    ("Requests of routes", "timeseries", "reqps",
     ((("topk(10, sum by (service, route) (rate(ipos_route_decisions_total"
       f"{_IN}[$__rate_interval])))"), "{{service}} {{route}}"),)),
    ("Time to first byte", "timeseries", "s", _quantiles("ipos_time_to_first_byte_seconds")),
    ("Duration of requests", "timeseries", "s", _quantiles("ipos_request_duration_seconds")),
    ("Duration of migrations", "timeseries", "s", _quantiles("ipos_migration_duration_seconds")),
    ("Requests of pools", "timeseries", "reqps",
     ((f"sum by (service, pool) (rate(ipos_pool_decisions_total{_IN}[$__rate_interval])) > 0",
       "{{service}} {{pool}}"),)),
    ("Refusals by servers", "timeseries", "reqps",
     ((f"sum by (server) (rate(ipos_server_refusals_total{_IN}[$__rate_interval])) > 0",
       "{{server}}"),)),
    ("Clocks of servers", "timeseries", "s",
     ((f"ipos_server_clock_offset_seconds{_IN}", "{{instance}} {{server}}"),)),
    ("Drops", "timeseries", "pps",
     ((('sum by (counter) (rate(ipos_packets_total{counter=~"drop_.*",instance=~"$instance"}'
       "[$__rate_interval])) > 0"), "{{counter}}"),)),
    ("CPU of servers", "timeseries", "percentunit",
     (("max by (server) (ipos_server_cpu_utilisation)", "{{server}}"),)),
    ("Connections of servers", "timeseries", "none",
     (("max by (server) (ipos_server_connections)", "{{server}}"),)),
    ("Free memory of servers", "timeseries", "bytes",
     (("max by (server) (ipos_server_available_memory_bytes)", "{{server}}"),)),
    ("Tables", "timeseries", "percentunit",
     (("ipos_table_rows / on (instance, table) ipos_table_rows_limit", "{{instance}} {{table}}"),)),
    ("Addresses held", "timeseries", "none", ((f"ipos_addresses_held{_IN}", "{{instance}}"),)),
    ("CPU of agents", "timeseries", "percentunit",
     ((f"rate(ipos_agent_cpu_seconds_total{_IN}[$__rate_interval])", "{{instance}}"),)),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    panels = []
    for number, (title, kind, unit, targets) in enumerate(PANELS):
        row, column = divmod(number, 3)
        panels.append(
            {
                "id": number + 1,
                "title": title,
                "type": kind,
                "datasource": _SOURCE,
                "gridPos": {"h": 8, "w": 8, "x": 8 * column, "y": 8 * row},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "options": {},
                "targets": [
                    {"refId": chr(65 + at), "expr": expression, "legendFormat": legend,
                     "datasource": _SOURCE}
                    for at, (expression, legend) in enumerate(targets)
                ],
            }
        )  # fmt: skip
    return {
        "title": "ipOS",
        "uid": "ipos-farm",
        "tags": ["ipos"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "current": {}},
                {
                    "name": "instance",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": "label_values(ipos_build_info, instance)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                },
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def main() -> None:
    FILE.write_text(json.dumps(dashboard(), indent=2) + "\n")


if __name__ == "__main__":
    main()
