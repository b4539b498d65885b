# SPDX-License-Identifier: Apache-2.0
"""Load of a cgroup and of the machine, from files with known numbers."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ipos.agent.host.load import BANDWIDTH_WINDOW, Bandwidth, Cpu, Memory, memory_left

SECOND = 1_000_000_000


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    use(tmp_path, 0)
    return tmp_path


def use(cgroup: Path, used_us: int) -> None:
    (cgroup / "cpu.stat").write_text(f"nr_periods 0\nusage_usec {used_us}\nuser_usec 0\n")


def test_cpu_is_permille_of_all_cpus_over_half_a_second(cgroup: Path) -> None:
    cpu = Cpu(cgroup, cpus=2)
    assert cpu.sample(0) == 0
    use(cgroup, 100_000)
    assert cpu.sample(SECOND // 10) == 500
    use(cgroup, 300_000)
    assert cpu.sample(SECOND // 5) == 750
    for tick in range(3, 9):
        assert cpu.sample(tick * SECOND // 10) <= 750
    assert cpu.sample(SECOND) == 0


def test_a_quota_is_all_there_is(cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text("50000 100000\n")
    cpu = Cpu(cgroup, cpus=2)
    cpu.sample(0)
    use(cgroup, 250_000)
    assert cpu.sample(SECOND) == 500
    (cgroup / "cpu.max").write_text("max 100000\n")
    assert cpu.sample(2 * SECOND) == 62, "of two seconds"


def test_who_waits_for_a_cpu_is_busy(cgroup: Path) -> None:
    pressure = cgroup / "cpu.pressure"
    text = "some avg10=1.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 total=7\n"
    pressure.write_text(text.format(5_000))
    cpu = Cpu(cgroup, cpus=64)
    cpu.sample(0)
    pressure.write_text(text.format(805_000))
    use(cgroup, 640_000)
    assert cpu.sample(SECOND) == 800


def test_without_a_cgroup_it_is_the_machine(tmp_path: Path) -> None:
    for cpu in (Cpu(None), Cpu(tmp_path / "absent")):
        cpu.sample(0)
        assert 0 <= cpu.sample(SECOND) <= 1000


def test_memory_is_what_the_limit_leaves(tmp_path: Path) -> None:
    machine = psutil.virtual_memory().total
    assert 0 < Memory(None).available() <= machine
    assert 0 < Memory(tmp_path).available() <= machine
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    memory = Memory(tmp_path)
    assert memory.available() == 600_000
    (tmp_path / "memory.current").write_text("700000\n")
    assert memory.available() == 300_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 1_000_000


def test_cached_files_leave_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 9\ninactive_file 200000\nactive_file 50000\n")
    assert Memory(tmp_path).available() == 250_000


def version_2(at: Path, limit: str, used: int) -> None:
    at.mkdir(parents=True, exist_ok=True)
    (at / "memory.max").write_text(f"{limit}\n")
    (at / "memory.current").write_text(f"{used}\n")
    (at / "memory.stat").write_text("anon 9\nactive_file 0\ninactive_file 100\n")


def version_1(at: Path, limit: int, used: int) -> None:
    at.mkdir(parents=True, exist_ok=True)
    (at / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (at / "memory.usage_in_bytes").write_text(f"{used}\n")
    (at / "memory.stat").write_text(
        "inactive_file 7\ntotal_inactive_file 300\ntotal_active_file 0\n"
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc whose process 815 is in /shop/web of both versions, each mounted in `tmp_path`."""
    found = tmp_path / "proc"
    (found / "815").mkdir(parents=True)
    (found / "self").mkdir()
    (found / "815/cgroup").write_text("4:memory:/shop/web\n1:cpu:/low\n0::/shop/web\n")
    (found / "self/mountinfo").write_text(
        f"30 1 0:1 / {tmp_path}/v2 rw - cgroup2 cgroup2 rw\n"
        f"31 1 0:2 / {tmp_path}/v1 rw - cgroup cgroup rw,memory\n"
        f"32 1 0:3 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu\n"
    )
    return found


def test_a_process_has_what_its_tightest_cgroup_leaves(tmp_path: Path, proc: Path) -> None:
    assert memory_left(815, proc) is None, "there are no such cgroups"
    version_2(tmp_path / "v2/shop/web", "max", 5000)
    assert memory_left(815, proc) is None
    version_2(tmp_path / "v2/shop", "9000", 5000)
    assert memory_left(815, proc) == 4100
    version_2(tmp_path / "v2/shop/web", "7000", 5000)
    assert memory_left(815, proc) == 2100
    version_2(tmp_path / "v2", "10", 5000)
    assert memory_left(815, proc) == 2100, "the root has no limit"
    version_1(tmp_path / "v1/shop/web", 0x7FFF_FFFF_FFFF_F000, 5000)
    assert memory_left(815, proc) == 2100
    version_1(tmp_path / "v1/shop/web", 6000, 5000)
    assert memory_left(815, proc) == 1300
    version_1(tmp_path / "v1/shop/web", 1000, 5000)
    assert memory_left(815, proc) == 0
    assert memory_left(816, proc) is None, "it has ended"


class Dev:
    """A /proc/net/dev in which eth9 counts."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.count(0, 0)

    def count(self, received: int, sent: int) -> None:
        line = f" eth9: {received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0\n"
        self.file.write_text("Inter-|   Receive\n face |bytes\neth99: 5 5\n" + line)


@pytest.fixture
def dev(tmp_path: Path) -> Dev:
    return Dev(tmp_path / "dev")


def test_bandwidth_is_the_link_less_what_is_sent_or_received(dev: Dev) -> None:
    link, limit = Bandwidth("eth9", dev.file), 100_000_000
    assert link.sample(0, limit) == (limit, 0)
    dev.count(1_250_000, 5_000_000)
    assert link.sample(SECOND, limit) == (60_000_000, 40)
    dev.count(1_250_000 + 7_500_000, 5_000_000)
    assert link.sample(2 * SECOND, limit) == (limit - 35_000_000, 35), "of two seconds"
    dev.count(10**9, 5_000_000)
    assert link.sample(3 * SECOND, limit) == (0, 100)
    told = [link.sample((4 + n) * SECOND, limit) for n in range(BANDWIDTH_WINDOW + 1)]
    assert told[-1] == (limit, 0), "nothing since"


def test_counts_that_begin_anew_are_no_traffic(dev: Dev) -> None:
    link = Bandwidth("eth9", dev.file)
    dev.count(10**9, 10**9)
    link.sample(0, 1000)
    dev.count(0, 0)
    assert link.sample(SECOND, 1000) == (1000, 0)


def test_a_link_of_unknown_speed_is_never_full(dev: Dev) -> None:
    link = Bandwidth("eth9", dev.file)
    assert link.sample(0) == (1_000_000_000, 0)
    dev.count(0, 10**9)
    assert link.sample(SECOND) == (0, 0)


@pytest.mark.parametrize(("limit", "wanted"), [(0, 10**10), (10**9, 10**9), (10**11, 10**10)])
def test_the_speed_is_the_less_of_the_links_and_what_is_configured(
    dev: Dev, monkeypatch: pytest.MonkeyPatch, limit: int, wanted: int
) -> None:
    stats = SimpleNamespace(speed=10_000)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {"eth9": stats})
    assert Bandwidth("eth9", dev.file).sample(0, limit) == (wanted, 0)
