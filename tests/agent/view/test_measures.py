# SPDX-License-Identifier: Apache-2.0
"""What the data plane has counted and timed, and what else of the farm is a metric, by names."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.abi.layout import constant
from ipos.agent.view import measures, metrics
from ipos.config.schema import Pool, Route
from ipos.handshake.keys import EPOCH_S, epoch_of
from tests.agent.running import Running


@pytest.fixture
def running() -> Running:
    return Running()


def test_what_was_counted_and_timed_has_names(running: Running) -> None:
    """By two CPUs, whose numbers are added."""
    tally = Codec(rows.ServiceTally).encode(
        rows.ServiceTally((1, 2, 3, 4, 5, 0), (6, 7, 8, 9, 10, 0))
    )
    running.memory.store("service_tallies").per_cpu[bytes(4)] = [tally, tally]
    for name in ("pool_tallies", "rule_tallies", "server_tallies"):
        running.memory.store(name).per_cpu |= {
            index.to_bytes(4, "little"): [Codec(rows.Tally).encode(rows.Tally(index + 1, index))]
            for index in range(5)
        }
    counts = {3: 1, 10: 5, 31: 2}  # below 8 us, 1.024 ms, and for ever
    histogram = rows.Histogram(2_000_000_000, tuple(counts.get(bits, 0) for bits in range(32)))
    running.memory.store("histograms").per_cpu[bytes(4)] = [Codec(rows.Histogram).encode(histogram)]
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text(running.view(), {}).decode())
        for sample in family.samples
        if sample.value
    }
    decided, refused = "ipos_service_decisions_total", "ipos_service_refusals_total"
    assert [found[decided, one, "web"] for one in
            ("here", "away", "moved", "stays", "redirected")] == [2, 4, 6, 8, 10]  # fmt: skip
    assert [found[refused, one, "web"] for one in ("400", "408", "431", "503", "rst")] == [
        12, 14, 16, 18, 20,
    ]  # fmt: skip
    assert (
        found["ipos_server_decisions_total", "s2"] - found["ipos_server_refusals_total", "s2"] == 1
    )
    assert found["ipos_pool_decisions_total", "every server that listens", "web"] == 1
    buckets = "ipos_time_to_first_byte_seconds_bucket"
    assert (found[buckets, "8e-06", "web"], found[buckets, "0.000512", "web"]) == (1, 1)
    assert found[buckets, "0.001024", "web"] == found[buckets, "134.217728", "web"] == 6
    assert found[buckets, "+Inf", "web"] == 8
    assert found["ipos_time_to_first_byte_seconds_count", "web"] == 8
    assert found["ipos_time_to_first_byte_seconds_sum", "web"] == 2


def test_the_document_has_the_same(running: Running) -> None:
    tally = rows.ServiceTally((1, 2, 3, 4, 5, 0), (6, 7, 8, 9, 10, 0))
    running.memory.store("service_tallies").per_cpu[bytes(4)] = [
        Codec(rows.ServiceTally).encode(tally)
    ]
    (service,) = measures.document(running.view())["services"]
    assert service["service"] == "web"
    assert service["decided"] == {"here": 1, "away": 2, "moved": 3, "stays": 4, "redirected": 5}
    assert service["refused"] == {"400": 6, "408": 7, "431": 8, "503": 9, "rst": 10}
    assert len(service["first_byte"]) == len(service["request"]) == len(service["migration"]) == 32


def test_a_route_is_known_by_its_rule() -> None:
    routed = Running(
        pool=[Pool(name="images", servers={"s1": 1})],
        route=[Route(service="web", host="www.example.org", path="/img/", pool="images")],
    )
    routed.memory.store("rule_tallies").per_cpu[(1).to_bytes(4, "little")] = [
        Codec(rows.Tally).encode(rows.Tally(7, 1))
    ]
    text = metrics.text(routed.view(), {}).decode()
    assert 'ipos_route_decisions_total{route="www.example.org/img/",service="web"} 7.0' in text
    assert 'ipos_route_refusals_total{route="www.example.org/img/",service="web"} 1.0' in text
    assert 'ipos_pool_decisions_total{pool="images",service="web"}' in text


def test_what_else_an_alert_needs(running: Running) -> None:
    apart = msgspec.structs.replace(running.snapshot.servers[1], apart_ms=-250)
    running.snapshot = msgspec.structs.replace(
        running.snapshot, taken_s=1234.5, checks={"web": "HTTP 404, wanted 200"},
        servers=[running.snapshot.servers[0], apart, *running.snapshot.servers[2:]],
    )  # fmt: skip
    now = epoch_of(running.view().wall_s(running.view().now_ns))
    for epoch in range(now - 1, now + 10):
        row = rows.EpochKey((1, 2), epoch=epoch, valid=rows.KeyValid.VALID)
        running.tables.cookie_keys.put(epoch % constant("IPOS_EPOCHS"), row)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text(running.view(), {}).decode())
        for sample in family.samples
    }
    assert found["ipos_config_last_reload_success_timestamp_seconds",] == 1234.5
    assert found["ipos_service_check_healthy", "web"] == 0
    assert found["ipos_service_servers_ready", "web"] == 3
    assert found["ipos_server_clock_offset_seconds", "s2"] == -0.25
    assert found["ipos_cookie_keys_ahead_seconds",] == 10 * EPOCH_S
