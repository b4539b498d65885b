# SPDX-License-Identifier: Apache-2.0
"""Which pools there are, and that a number in use never comes to mean another pool."""

import pytest

from ipos.abi.layout import constant
from ipos.agent.rows.pools import default, definitions, listening, number_pools, target
from ipos.config.schema import Config, Pool, Route, Service
from ipos.errors import IposError
from tests.agent.made_up_farm import config

WEB = Service(name="web", port=80, policy="random")


def routed(*routes: Route, **pools: dict[str, int]) -> Config:
    return config(
        WEB, pool=[Pool(name=name, servers=said) for name, said in pools.items()], route=routes
    )


def test_without_a_route_every_server_that_listens_gets_all() -> None:
    made = config(WEB)
    assert default(made, WEB) == listening(WEB)
    assert list(definitions(made)) == ["web random *"]


def test_a_route_for_all_is_the_default_and_others_are_not() -> None:
    image = Route(service="web", pool="images", path="/img/")
    made = routed(image, images={"s2": 1})
    assert default(made, WEB) == listening(WEB)
    every = Route(service="web", servers=["s3", "s1"])
    made = routed(image, every, images={"s2": 1})
    assert default(made, WEB).weights == (("s1", 1), ("s3", 1))
    assert list(definitions(made)) == ["web random s1=1,s3=1", "web random *", "web random s2=1"]
    assert [one.label for one in definitions(made).values()] == ["s3, s1", "", "images"]


def test_a_pools_own_policy_comes_before_its_services() -> None:
    pool = Pool(name="images", servers={"s2": 1}, policy="fixed")
    made = config(WEB, pool=[pool], route=[Route(service="web", pool="images", path="/img/")])
    assert target(made, WEB, made.route[0]).policy == "fixed"
    other = Service(name="shop", port=81)
    route = Route(service="shop", pool="images", path="/img/")
    assert target(made, other, route).key == "shop fixed s2=1"


def test_services_of_different_policies_do_not_share_a_pool() -> None:
    other = Service(name="shop", port=81)
    pool = Pool(name="images", servers={"s2": 1})
    routes = [Route(service=name, pool="images", path="/img/") for name in ("web", "shop")]
    made = config(WEB, other, pool=[pool], route=routes)
    assert [key for key in definitions(made) if "s2" in key] == [
        "web random s2=1",
        "shop least-loaded s2=1",
    ]


def test_what_rules_still_use_keeps_its_number() -> None:
    assert number_pools(["a", "b"]) == ["a", "b"]
    assert number_pools(["b", "c"], ["a", "b"], ["a", "b"]) == ["a", "b", "c"]
    # Two changes later nobody can be looking at `a`.
    assert number_pools(["b", "d"], ["a", "b", "c"], ["b", "c"]) == ["d", "b", "c"]
    assert number_pools([], ["a", "b"]) == ["", ""]


def test_too_many_are_a_sentence() -> None:
    most = constant("IPOS_POOLS_MAX")
    wanted = [str(number) for number in range(most)]
    assert len(number_pools(wanted)) == most
    with pytest.raises(IposError, match=f"the pools of old and new routes are {most + 1}"):
        number_pools([*wanted, "more"])
