# SPDX-License-Identifier: Apache-2.0
"""What is configured and nobody has is said in sentences."""

from ipaddress import IPv4Address

from ipos.config.absences import idle, unheard, unknown_servers, unserved
from ipos.config.schema import Pool, Route, Service
from ipos.config.slots import with_slots
from ipos.config.spawning import Spawn
from tests.agent.made_up_farm import config

WEB, API = Service(name="web", port=80), Service(name="api", port=8080)
IMAGES = Pool(name="images", servers={"s1": 1, "s9": 1})
TO_NINE = Route(service="web", servers=["s9"])


def test_members_never_heard_of_are_named_in_order() -> None:
    said = unheard([IPv4Address("10.77.0.3"), IPv4Address("10.77.0.2")])
    assert [one.split()[0] for one in said] == ["10.77.0.2", "10.77.0.3"]
    assert "start its agent" in said[0]
    assert len(unheard(IPv4Address(n) for n in range(1, 1000))) == 8


def test_a_server_of_a_pool_that_nobody_is_called() -> None:
    farm = config(WEB, pool=[IMAGES], route=[TO_NINE])
    said = unknown_servers(farm, ["s1", "s2"])
    assert [one.split(" has ")[0] for one in said] == ["pool images", "a route of service web"]
    assert "the server s9" in said[0]
    assert unknown_servers(farm, ["s1", "s9"]) == []


def test_a_service_that_no_server_serves() -> None:
    farm = config(WEB, API)
    assert unserved(farm, ["web", "api"]) == []
    assert unserved(farm, ["web"]) == [
        "no server serves api: nothing listens on port 8080, or its check fails"
    ]


def test_a_server_that_does_not_serve_what_it_should() -> None:
    pool = Pool(name="images", servers={"s1": 1, "s2": 0, "s3": 1})
    farm = config(WEB, API, pool=[pool], route=[Route(service="web", path="/img/", pool="images")])
    every = {"s1": ["web", "api"], "s2": ["api"], "s3": ["web"]}
    assert idle(farm, every) == []
    assert idle(farm, {}) == []
    assert idle(farm, {"s1": [], "s2": [], "s3": []}) == []  # of the services that is said already
    (stopped,) = idle(farm, every | {"s2": []})
    assert stopped.startswith("s2 serves nothing: ")
    (other,) = idle(farm, every | {"s3": ["api"]})
    assert other.startswith("s3 is to serve web by a route and does not serve it: ")
    assert "port 80 there" in other


def test_what_may_be_spawned_is_not_missed() -> None:
    spawn = Spawn(name="worker", command=["/bin/w"], ports="20000-20001")
    farm = with_slots(config(WEB, spawn=[spawn]))
    assert unserved(farm, ["web"]) == []
    (stopped,) = idle(farm, {"s1": ["web"], "s2": []})
    assert stopped.startswith("s2 serves nothing: ")
