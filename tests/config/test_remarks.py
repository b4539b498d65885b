# SPDX-License-Identifier: Apache-2.0
"""What is right in a configuration and probably not meant is remarked."""

import pytest

from ipos.config.remarks import remarks
from ipos.config.schema import Pool, Route, Service, Session
from tests.agent.made_up_farm import config

LEARN = Session(kind="learn", cookie="A")
POOL = Pool(name="api", servers={"s1": 1})


@pytest.mark.parametrize(
    ("service", "is_remarked"),
    [
        (Service(name="web", port=443, session=LEARN), True),
        (Service(name="web", port=80, session=LEARN), False),
        (Service(name="web", port=443, session=Session(kind="source")), False),
        (Service(name="web", port=443, mode="http", session=LEARN), False),
        (Service(name="web", port=80, mode="tls", session=LEARN), True),
    ],
)
def test_a_cookie_in_tls(service: Service, is_remarked: bool) -> None:
    told = [one for one in remarks(config(service)) if "speaks TLS" in one]
    assert bool(told) == is_remarked
    assert all('kind = "source"' in one for one in told)


def test_a_star_in_a_path() -> None:
    web = Service(name="web", port=80)
    routes = [Route(service="web", path=path, pool="api") for path in ("/api/*", "/img/")]
    told = remarks(config(web, pool=[POOL], route=routes))
    assert [one for one in told if 'say path = "/api/"' in one] == told != []
