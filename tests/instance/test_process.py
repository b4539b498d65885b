# SPDX-License-Identifier: Apache-2.0
"""Real processes in a cgroup, and what is asked of systemd."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos import open_files
from ipos.agent.host.paths import cgroup_root
from ipos.config.starting import Start
from ipos.instance import ending, record
from ipos.instance.group_process import GroupProcess
from ipos.instance.process import new_record
from ipos.instance.record import Record
from ipos.instance.systemd_unit import SystemdUnit, TransientUnit
from tests.support.farm import wait_until

_SYSTEMCTL = """\
#!/bin/sh
echo "$(basename $0) $*" >>{log}
case "$*" in
*ActiveState*) cat {state} ;;
*ExecMainStatus*) echo 3 ;;
*Result*) echo exit-code ;;
*MemoryCurrent*) echo 4096 ;;
esac
"""


@pytest.fixture
def group() -> Iterator[Path]:
    made = cgroup_root() / f"ipos-test-{os.getpid()}"
    yield made
    if made.exists():
        (made / "cgroup.kill").write_text("1")
        wait_until("the cgroup has gone", lambda: _removed(made))


def _removed(group: Path) -> bool:
    GroupProcess(group).forget()
    return not group.exists()


def test_all_that_a_command_starts_is_ended(group: Path) -> None:
    one = GroupProcess(group)
    one.start(["/bin/sh", "-c", "sleep 100 & exec sleep 100"], 0, {})
    wait_until("both run", lambda: len((group / "cgroup.procs").read_text().split()) == 2)
    assert one.memory() > 0
    again = GroupProcess(group)  # as an agent that was started again has it
    assert again.is_alive()
    again.start(["/bin/sleep", "100"], 0, {})
    assert len((group / "cgroup.procs").read_text().split()) == 2, "none is started beside them"
    again.end(at_once=False)
    wait_until("they have ended", lambda: not one.is_alive())
    assert one.ending() == "its command was ended by SIGTERM"
    one.forget()
    assert not group.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/bin/sh", "-c", "exit 7"], "its command ended with status 7"),
        (["/no/such"], "its command ended with status 127, as one that was not found"),
    ],
)
def test_how_it_ends_is_told(group: Path, command: list[str], said: str) -> None:
    one = GroupProcess(group)
    one.start(command, 0, {})
    wait_until("it has ended", lambda: not one.is_alive())
    assert one.ending() == said


def test_it_may_have_as_many_files_open_as_usual(
    group: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many the agent may have: select(2) of old programs knows 1,024."""
    monkeypatch.setattr(open_files, "_usual", 321)
    told = tmp_path / "told"
    one = GroupProcess(group)
    one.start(["/bin/sh", "-c", f"ulimit -S -n >{told}"], 0, {})
    wait_until("it has ended", lambda: not one.is_alive())
    assert told.read_text() == "321\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [((256, 4096), 4096), ((256, 1 << 20), open_files.MOST), ((1 << 17, 1 << 18), 1 << 17)],
)
def test_the_agent_may_have_many(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: int
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: limits.append(wanted))
    open_files.raise_limit()
    assert limits[-1] == (after, before[1])


def test_it_knows_its_service_and_nothing_of_our_service_manager(
    group: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    told = tmp_path / "told"
    one = GroupProcess(group)
    one.start(["/bin/sh", "-c", f"env >{told}"], 0, {"IPOS_SERVICE": "web"})
    wait_until("it has ended", lambda: not one.is_alive())
    assert "IPOS_SERVICE=web" in told.read_text()
    assert "NOTIFY_SOCKET" not in told.read_text()


def test_a_detach_ends_them(group: Path, tmp_path: Path) -> None:
    one = GroupProcess(group)
    one.start(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], 0, {})
    file = tmp_path / "instances.json"
    record.write(file, [Record("web", group=str(group))])
    wait_until("it has entered", lambda: (group / "cgroup.procs").read_text().split())
    begun = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "PATIENCE_S", 0.2)
        assert ending.stop_all(file) == []
    assert time.monotonic() - begun < 5
    assert not one.is_alive()
    assert not file.exists()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs in the place of systemd's; `state` is what they say, `log` what they were asked."""
    for name in ("systemctl", "systemd-run"):
        program = tmp_path / name
        program.write_text(_SYSTEMCTL.format(log=tmp_path / "log", state=tmp_path / "state"))
        program.chmod(0o755)
    (tmp_path / "state").write_text("inactive\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_a_unit_is_asked_for_by_systemctl(systemd: Path) -> None:
    unit = SystemdUnit("shop.service")
    unit.start([], 0, {})
    (systemd / "state").write_text("activating\n")
    assert unit.is_alive()
    assert unit.memory() == 4096
    unit.end(at_once=False)
    (systemd / "state").write_text("failed\n")
    assert not unit.is_alive()
    assert unit.ending() == "its unit shop.service has ended (exit-code)"
    asked = (systemd / "log").read_text().splitlines()
    assert asked[0] == "systemctl --no-block start shop.service"
    assert "systemctl --no-block stop shop.service" in asked


def test_a_command_gets_a_unit_where_systemd_runs(systemd: Path) -> None:
    start = Start(command=["/bin/shop"], memory="64M")
    made = new_record("web", start, Path("/sys/fs/cgroup/ipos-f-s1-web"), by_systemd=True)
    assert (made.unit, made.transient) == ("ipos-f-s1-web.service", True)
    unit = TransientUnit(made.unit)
    unit.start(["/bin/shop", "-x"], start.memory_bytes, {"IPOS_SERVICE": "web"})
    assert (systemd / "log").read_text().splitlines()[-1] == (
        "systemd-run --quiet --unit=ipos-f-s1-web.service --setenv=IPOS_SERVICE=web "
        "--property=MemoryMax=67108864 -- /bin/shop -x"
    )
    assert unit.ending() == "its command ended with status 3"
    (systemd / "state").write_text("active\n")
    unit.start(["/bin/shop"], 0, {})
    assert (systemd / "log").read_text().count("systemd-run") == 1, "it runs already"
