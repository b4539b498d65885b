# SPDX-License-Identifier: Apache-2.0
"""Load of a cgroup and of the machine, from files with known numbers."""

from pathlib import Path

import psutil
import pytest

from ipos.agent.host.load import Bandwidth, Cpu, Memory

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


def test_bandwidth_is_the_link_less_what_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "dev"
    line = " eth9: 1 1 0 0 0 0 0 0 {} 1 0 0 0 0 0 0\n"
    file.write_text("Inter-|   Receive\n face |bytes\n" + line.format(0))
    link = Bandwidth("eth9", file)
    speed = link.sample(0)
    assert speed == 1_000_000_000
    file.write_text(line.format(12_500_000))
    assert link.sample(SECOND) == speed - 100_000_000
    file.write_text(line.format(12_500_000 + 10**9))
    assert link.sample(2 * SECOND) == 0
