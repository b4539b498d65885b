# SPDX-License-Identifier: Apache-2.0
"""The last hour in samples: rates from counters, and bounds."""

from ipos.agent.http.history import EVERY_NS, SAMPLES, SERVERS_MAX, History

S = 1_000_000_000


def test_rates_are_per_second_and_begin_with_the_second_sample() -> None:
    history = History()
    assert history.is_due(EVERY_NS)
    history.take({"migrated": 5, "drop_a": 1, "drop_b": 1}, {"s1": (3, 0.5)}, 100 * S, 1000)
    assert not history.is_due(100 * S + EVERY_NS - 1)
    assert history.is_due(100 * S + EVERY_NS)
    history.take({"migrated": 25, "drop_a": 1, "drop_b": 11}, {"s1": (4, 0.25)}, 110 * S, 1010)
    first, second = history.document()
    assert first == {"time": 1000, "rates": {}, "servers": {"s1": (3, 0.5)}}
    assert second["rates"] == {"here": 0.0, "migrated": 2.0, "refused": 0.0, "drops": 1.0}


def test_it_is_bounded() -> None:
    history = History()
    servers = {f"s{n:04}": (0, 0.0) for n in range(1000)}
    for n in range(SAMPLES + 10):
        history.take({}, servers, n * EVERY_NS, n)
    document = history.document()
    assert (len(document), document[0]["time"]) == (SAMPLES, 10)
    assert len(document[0]["servers"]) == SERVERS_MAX
