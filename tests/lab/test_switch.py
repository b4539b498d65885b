# SPDX-License-Identifier: Apache-2.0
"""LANs that forward in XDP: what comes through, and that no bridge had it in hand."""

import hashlib
import os
import re
from collections.abc import Iterator

import pytest

from ipos.lab import Lab, LabError, Settings, faults
from ipos.lab.places import Place
from ipos.lab.plan import SWITCH

pytestmark = pytest.mark.farm

MEGABYTE = bytes(range(250)) * 4000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    settings = Settings(name=f"t{os.getpid()}-x", servers=3, app="builtin", bare=True, switch="xdp")
    with Lab(settings) as lab:
        yield lab


def _redirected(lab: Lab, port: str) -> int:
    """Frames that the switch's program has sent on from a port."""
    done = Place(lab.name, SWITCH).run(
        ["ethtool", "-S", port], text=True, capture_output=True, check=True
    )
    return sum(int(each) for each in re.findall(r"rx_queue_\d+_xdp_redirect: (\d+)", done.stdout))


def _curl(lab: Lab, node: str, *arguments: str, data: bytes = b"") -> bytes:
    done = lab.run(node, ["curl", "-sS", *arguments], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr
    return bytes(done.stdout)


def test_both_ways_are_whole_and_the_way_in_is_xdps(lab: Lab) -> None:
    before = _redirected(lab, "router1-front")
    url = f"http://{lab.front('s2')}"
    told = _curl(lab, "client1", "--data-binary", "@-", f"{url}/echo", data=MEGABYTE)
    assert hashlib.sha256(MEGABYTE).hexdigest().encode() in told
    assert len(_curl(lab, "client1", f"{url}/bytes/1000000")) == 1_000_000
    assert _redirected(lab, "router1-front") - before > len(MEGABYTE) // 1460


def test_back_is_forwarded_in_xdp(lab: Lab) -> None:
    before = _redirected(lab, "s1-back")
    done = lab.run("s1", ["ping", "-c", "3", "-i", "0.01", "-q", lab.nodes["s2"].address("back")])
    assert done.returncode == 0
    assert _redirected(lab, "s1-back") - before >= 3


def test_two_servers_have_a_cable_for_back() -> None:
    name = f"t{os.getpid()}-c"
    with Lab(Settings(name=name, servers=2, app="builtin", bare=True, switch="xdp")) as lab:
        done = lab.run("s1", ["ping", "-c", "1", "-q", lab.nodes["s2"].address("back")])
        assert done.returncode == 0
        links = Place(name, SWITCH).run(["ip", "-o", "link"], text=True, capture_output=True)
        assert "s1-front@" in links.stdout
        assert "s1-back@" not in links.stdout
        with pytest.raises(LabError, match="a cable between two servers"):
            faults.set_link(lab, "s1", "back", up=False)


def test_losses_need_a_bridge(lab: Lab) -> None:
    with pytest.raises(LabError, match="build it with --switch bridge"):
        faults.set_loss(lab, 5)


def test_another_switch_is_refused_by_name() -> None:
    with pytest.raises(LabError, match="no switch is called 'hub'; there are bridge and xdp"):
        Settings(switch="hub")
