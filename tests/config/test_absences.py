# SPDX-License-Identifier: Apache-2.0
"""What is configured and nobody has is said in sentences."""

from ipaddress import IPv4Address

from ipos.config.absences import unheard, unknown_servers, unserved
from ipos.config.schema import Pool, Route, Service
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
