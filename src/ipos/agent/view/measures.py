# SPDX-License-Identifier: Apache-2.0
"""What the data plane has counted and timed, by the names that people know, and as metrics.

Labels are names of the configuration and codes of the header: a client can make no new one. Of
routes there are at most ROUTES_MAX, in the order of the configuration; the rest are one together.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from ipos.abi import rows
from ipos.agent.rows.url_reader import installed
from ipos.agent.rows.url_writer import live_bank
from ipos.agent.view.rules_in_force import pool_label, server_names
from ipos.agent.view.table_views import View
from ipos.kernel.maps import Tables
from ipos.kernel.tallies import bounds_s

ROUTES_MAX = 500
OTHER_ROUTES = "others"
_SHORTEST, _LONGEST = 3, 27
"""Of the buckets that are told one by one: 8 us to 134 s. Shorter times are in the first."""
_HISTOGRAMS = {
    rows.Timed.FIRST_BYTE: (
        "ipos_time_to_first_byte_seconds",
        "From when an application here is given a request to the first byte of its answer",
    ),
    rows.Timed.REQUEST: (
        "ipos_request_duration_seconds",
        "From the same to the last byte, or to the server's FIN where a service decides once",
    ),
    rows.Timed.MIGRATION: (
        "ipos_migration_duration_seconds",
        "From the choice of another server to its word that the socket exists",
    ),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One service: what was decided and refused by short codes, and its times."""

    decided: Mapping[str, int]
    refused: Mapping[str, int]
    times: Mapping[rows.Timed, rows.Histogram]


def services(view: View) -> dict[str, Measured]:
    """Every service in use, by name."""
    tallies = view.tables.tallies
    found = {}
    for index, name in _services(view):
        tally = tallies.service(index)
        found[name] = Measured(
            {one.name.lower(): tally.decided[one] for one in rows.Decided},
            {one.name.lower().removeprefix("by_"): tally.refused[one] for one in rows.RefusedBy},
            {one: tallies.histogram(index, one) for one in rows.Timed},
        )
    return found


def routes(view: View) -> dict[tuple[str, str], rows.Tally]:
    """By service and rule."""
    tallies, names = view.tables.tallies, view.snapshot.services
    found: dict[tuple[str, str], rows.Tally] = {}
    rules = _rules(view.tables, view.snapshot.loaded, live_bank(view.tables))
    for place, (number, service, text) in enumerate(rules):
        name = names[service] if service < len(names) else ""
        key = name, text if place < ROUTES_MAX else OTHER_ROUTES
        found[key] = _plus(found.get(key, rows.Tally()), tallies.rule(number))
    return found


@lru_cache(maxsize=1)
def _rules(tables: Tables, loaded: int, bank: int) -> list[tuple[int, int, str]]:
    """Number, index of the service, and text of each rule. They are read once: there may be many.

    loaded, bank: what changes when they do.
    """
    return sorted(
        (rule.number, service, str(rule).encode("utf-8", "backslashreplace").decode())
        for service, own in installed(tables).items()
        for rule, _ in own
    )


def pools(view: View) -> dict[tuple[str, str], rows.Tally]:
    """By service and what people call the pool. Of two pools with one name, both together."""
    found: dict[tuple[str, str], rows.Tally] = {}
    for index, key in enumerate(view.snapshot.pools):
        if key:
            name = key.partition(" ")[0], pool_label(view, index)
            found[name] = _plus(found.get(name, rows.Tally()), view.tables.tallies.pool(index))
    return found


def servers(view: View) -> dict[str, rows.Tally]:
    """By name, or the address of one that has told none: what this server decided for it."""
    return {name: view.tables.tallies.server(index) for index, name in server_names(view).items()}


def document(view: View) -> dict[str, Any]:
    """Counts and histograms since they began, as `GET /v1/traffic` answers them.

    The number of a histogram's bucket is the bits of its microseconds.
    """
    told = [
        {
            "service": name,
            "decided": dict(one.decided),
            "refused": dict(one.refused),
            **{what.name.lower(): list(one.times[what].buckets) for what in rows.Timed},
        }
        for name, one in services(view).items()
    ]
    ruled = [
        {"service": service, "route": route, "decided": tally.decided, "refused": tally.refused}
        for (service, route), tally in routes(view).items()
    ]
    return {"services": told, "routes": ruled}


def metrics(view: View) -> Iterator[Metric]:
    """All of it in Prometheus' terms."""
    measured = services(view)
    decided = CounterMetricFamily(
        "ipos_service_decisions",
        "Requests that this server decided: served here, given away, moved with their "
        "connection, staying with it, redirected",
        labels=["service", "outcome"],
    )
    refused = CounterMetricFamily(
        "ipos_service_refusals",
        "Requests that nobody serves, by what the client was told: a status, or a reset",
        labels=["service", "answer"],
    )
    for name, one in measured.items():
        for outcome, count in one.decided.items():
            decided.add_metric([name, outcome], count)
        for answer, count in one.refused.items():
            refused.add_metric([name, answer], count)
    yield decided
    yield refused
    yield from _tallies(
        "route", ("service", "route"), routes(view).items(), "with nobody left for it"
    )
    yield from _tallies("pool", ("service", "pool"), pools(view).items(), "with nobody left in it")
    by_name = [((name,), tally) for name, tally in servers(view).items()]
    yield from _tallies("server", ("server",), by_name, "which it has refused")
    yield from _times(measured)


def _tallies(
    what: str,
    labels: tuple[str, ...],
    found: Iterable[tuple[tuple[str, ...], rows.Tally]],
    refusal: str,
) -> Iterator[Metric]:
    decided = CounterMetricFamily(
        f"ipos_{what}_decisions", f"Requests that this server decided for the {what}", labels=labels
    )
    refused = CounterMetricFamily(
        f"ipos_{what}_refusals", f"Requests for the {what} {refusal}", labels=labels
    )
    for key, tally in found:
        decided.add_metric(key, tally.decided)
        refused.add_metric(key, tally.refused)
    yield decided
    yield refused


def _times(measured: Mapping[str, Measured]) -> Iterator[Metric]:
    bounds = list(map(str, bounds_s()))
    for what, (name, text) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(name, text, labels=["service"])
        for service, one in measured.items():
            histogram = one.times[what]
            upto, buckets = 0, []
            for place, count in enumerate(histogram.buckets):
                upto += count
                if _SHORTEST <= place <= _LONGEST:
                    buckets.append((bounds[place], upto))
            family.add_metric([service], [*buckets, ("+Inf", upto)], histogram.sum_ns / 1e9)
        yield family


def _plus(one: rows.Tally, other: rows.Tally) -> rows.Tally:
    return rows.Tally(one.decided + other.decided, one.refused + other.refused)


def _services(view: View) -> Iterator[tuple[int, str]]:
    for index, name in enumerate(view.snapshot.services):
        row = view.tables.services.get(index)
        if name and row is not None and row.used:
            yield index, name


def quantile_s(
    histogram: rows.Histogram, part: float, since: rows.Histogram | None = None
) -> float:
    """An upper bound of the time that `part` of all took, 0 where there are none.

    since: only what has come since that one.
    """
    before = since.buckets if since is not None else (0,) * len(histogram.buckets)
    counts = [now - then for now, then in zip(histogram.buckets, before, strict=True)]
    upto, total = 0, sum(counts)
    for bits, count in enumerate(counts):
        upto += count
        if count and upto >= part * total:
            return float(2**bits) / 1e6
    return 0.0
