# SPDX-License-Identifier: Apache-2.0
"""Sizes of maps from the configuration's limits."""

from pathlib import Path

from ipos.agent import setup
from ipos.config.schema import Config, Farm, Limits, Server
from tests.agent.made_up_farm import back, front


def sizes(**limits: int) -> dict[str, int]:
    farm = Farm(name="shop", secret_file=Path("key"), members=[back(1)], limits=Limits(**limits))
    server = Server(name="s1", front="front", back="back", addresses=[front(1)])
    return setup.sizes(Config(farm=farm, server=server, service=[]))


def test_what_is_not_said_is_the_data_planes_own() -> None:
    assert sizes() == {}
    assert sizes(forward=4096, local=99) == {"forward": 4096, "local": 99}


def test_each_held_request_has_a_piece_and_one_has_all_it_needs() -> None:
    assert sizes(holding=4096) == dict.fromkeys(("holding", "hold_pool", "hold_free"), 4096)
    assert sizes(holding=16) == {"holding": 16, "hold_pool": 256, "hold_free": 256}
