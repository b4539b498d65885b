# SPDX-License-Identifier: Apache-2.0
"""A bare lab on this machine: hosts, wires, applications and faults, nothing of ipOS."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.lab import Lab, LabError, Settings, cgroups, cleaning, faults, namespaces, pattern, state
from ipos.lab.places import ROOT

pytestmark = pytest.mark.farm

CLIENT_ADDRESS = "10.99.0.11"


def _unique(suffix: str) -> str:
    return f"t{os.getpid()}-{suffix}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(Settings(name=_unique("a"), servers=2, bare=True)) as farm:
        yield farm


@pytest.fixture
def name() -> Iterator[str]:
    """A name for a lab that the test ends itself; if it fails before that, it is ended here."""
    unique = _unique("b")
    yield unique
    Lab(Settings(name=unique)).down()


def _ipos(*arguments: str, **options: object) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("ipos")), "lab", *arguments]
    return subprocess.run(command, capture_output=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def _curl(lab: Lab, url: str, *options: str, data: bytes | None = None) -> tuple[dict, bytes]:
    """Headers, all in lower case, and the body."""
    command = ["curl", "-sS", "--fail-with-body", "--max-time", "10", "-D", "/dev/stderr"]
    done = lab.run("client1", [*command, *options, url], input=data, capture_output=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    lines = done.stderr.decode().splitlines()
    pairs = [line.lower().split(":", 1) for line in lines if ":" in line]
    headers = {name: value.strip() for name, value in pairs}
    assert len(headers) == len(pairs), "a header comes twice"
    return headers, done.stdout


@pytest.mark.parametrize("server", ["s1", "s2"])
@pytest.mark.parametrize("path", ["/", "/slow/0"])
def test_a_server_answers_its_name_and_sees_the_client(lab: Lab, server: str, path: str) -> None:
    headers, body = _curl(lab, f"http://{lab.front(server)}{path}")
    assert body.decode() == f"{server}\n"
    assert headers["x-served-by"] == server
    assert headers["x-client"] == CLIENT_ADDRESS


@pytest.mark.parametrize(
    "path", ["bytes/0", "bytes/1", "bytes/10000", "bytes/1000000", "bytes/4321", "files/1000000"]
)
def test_bytes_are_the_pattern(lab: Lab, path: str) -> None:
    headers, body = _curl(lab, f"http://{lab.front('s2')}/{path}")
    assert body == b"".join(pattern.chunks(int(path.partition("/")[2])))
    assert headers["x-client"] == CLIENT_ADDRESS


def test_echo_tells_length_and_hash(lab: Lab) -> None:
    data = b"".join(pattern.chunks(3_000_000))
    headers, body = _curl(lab, f"http://{lab.front('s1')}/echo", "--data-binary", "@-", data=data)
    assert json.loads(body) == {"length": len(data), "sha256": pattern.sha256(len(data))}
    assert headers["x-served-by"] == "s1"
    assert headers["x-client"] == CLIENT_ADDRESS


def test_a_server_speaks_first_on_port_25(lab: Lab) -> None:
    with (
        namespaces.entered(lab.place("client1").namespace),
        socket.create_connection((lab.front("s2"), 25), timeout=10) as connection,
        connection.makefile("rwb") as stream,
    ):
        assert stream.readline() == f"220 s2 {CLIENT_ADDRESS}\r\n".encode()
        stream.write(b"hello\r\n")
        stream.flush()
        assert stream.readline() == b"hello\r\n"


def test_the_firewall_drops_what_is_not_served(lab: Lab) -> None:
    with namespaces.entered(lab.place("client1").namespace), socket.socket() as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.connect((lab.front("s1"), 4444))


def test_exec_passes_streams_and_status_and_names_the_node(lab: Lab) -> None:
    script = 'cat; echo "$IPOS_NODE" >&2; cat /proc/self/cgroup; exit 7'
    done = _ipos("exec", "--name", lab.name, "s1", "--", "sh", "-c", script, input=b"in\0put")
    assert done.returncode == 7
    assert done.stdout.startswith(b"in\0put")
    assert f"0::/ipos/{lab.name}/s1\n".encode() in done.stdout
    assert done.stderr == b"s1\n"


def test_exec_leaves_the_commands_own_options_alone(lab: Lab) -> None:
    done = _ipos("exec", "--name", lab.name, "client1", "echo", "--name", "x", "--", "-n")
    assert done.stdout == b"--name x -- -n\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["s9", "--", "true"], b"s1, s2"), (["--name", "absent", "s1", "true"], b"ipos lab up")],
)
def test_exec_elsewhere_is_one_sentence(lab: Lab, arguments: list[str], says: bytes) -> None:
    done = _ipos("exec", "--name", lab.name, *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_signal_that_ends_a_command_is_seen_outside(lab: Lab) -> None:
    done = _ipos("exec", "--name", lab.name, "client1", "--", "sh", "-c", "kill -9 $$")
    assert done.returncode == -signal.SIGKILL


def _daemons(lab: Lab) -> set[int]:
    """Those that the lab has started; nginx may still be starting workers of its own."""
    running = set(cgroups.processes(cgroups.path_of(lab.name)))
    fields = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2] for pid in running}
    return {pid for pid, text in fields.items() if int(text.split()[1]) not in running}


def test_up_again_is_harmless_and_other_settings_are_refused(lab: Lab) -> None:
    before = _daemons(lab)
    arguments = ["up", "--name", lab.name, "--servers", "2", "--bare", "--no-ipv6"]
    done = _ipos(*arguments, text=True)
    assert (done.returncode, done.stdout) == (0, f"lab {lab.name} is up already\n")
    done = _ipos(*arguments, "--clients", "2", text=True)
    assert done.returncode == 1
    assert "other settings" in done.stderr
    assert before
    assert _daemons(lab) == before


def test_list_names_it(lab: Lab) -> None:
    rows = json.loads(_ipos("list", "-o", "json").stdout)
    row = next(row for row in rows if row["name"] == lab.name)
    assert (row["state"], row["servers"], row["bare"]) == ("up", 2, True)


def test_applications_die_and_come_back(lab: Lab) -> None:
    faults.kill_applications(lab, "s2")
    refused = lab.run("client1", ["curl", "-sS", f"http://{lab.front('s2')}/"], capture_output=True)
    assert refused.returncode == 7, "connection refused"
    lab.start_applications("s2")
    faults.restart_applications(lab, "s2")
    assert _curl(lab, f"http://{lab.front('s2')}/")[1] == b"s2\n"


def test_a_lost_link_is_lost_and_a_lossy_one_only_slow(lab: Lab) -> None:
    ping = ["ping", "-q", "-W", "1", "-i", "0.002"]
    address = lab.front("s1")
    faults.flush_neighbours(lab)
    assert lab.run("client1", [*ping, "-c", "1", address], capture_output=True).returncode == 0
    faults.set_loss(lab, 100, [("s1", "front")])
    assert lab.run("client1", [*ping, "-c", "1", address], capture_output=True).returncode == 1
    faults.set_loss(lab, 20)
    done = lab.run("client1", [*ping, "-c", "200", address], capture_output=True, text=True)
    received = int(done.stdout.split(" received")[0].split()[-1])
    assert 1 <= received <= 150, "four links each way at 0.8, so about a sixth comes back"
    faults.set_loss(lab, 0)
    assert lab.run("client1", [*ping, "-c", "1", address], capture_output=True).returncode == 0


def test_a_power_cut_and_its_end(lab: Lab) -> None:
    url = f"http://{lab.front('s2')}/"
    faults.cut_power(lab, "s2")
    try:
        dead = lab.run("client1", ["curl", "-sS", "-m", "0.3", url], capture_output=True)
        assert dead.returncode != 0
    finally:
        faults.restore_power(lab, "s2")
    assert _curl(lab, url)[1] == b"s2\n"


def test_down_leaves_nothing_and_again_is_harmless(name: str) -> None:
    lab = Lab(Settings(name=name, servers=1, topology="one-lan", app="builtin", bare=True))
    assert lab.up()
    assert _curl(lab, f"http://{lab.front('s1')}/")[1] == b"s1\n"
    stubborn = ["sh", "-c", "trap '' TERM; echo here; exec sleep 1000"]
    with lab.popen("s1", stubborn, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = cgroups.processes(cgroups.path_of(lab.name))
        assert process.pid in pids
        assert lab.down()
    assert cleaning.remains(lab.name) == []
    assert not any(_runs(pid) for pid in pids)
    assert not lab.down()
    assert not (ROOT / lab.name).exists()


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_an_interrupted_up_is_cleaned_by_down_or_by_up(name: str) -> None:
    settings = Settings(name=name, servers=1, clients=0, app="builtin", bare=True)
    for finish in (Lab(settings).down, Lab(settings).up):
        # As a killed `up` leaves it: a manifest, a namespace and a cgroup, none of it whole.
        with state.locked(settings.name):
            state.write(state.Manifest(settings, complete=False))
        namespaces.create(namespaces.path_of(settings.name, "s1"))
        (cgroups.path_of(settings.name, "s1") / "app").mkdir(parents=True)
        with pytest.raises(LabError, match="not up"):
            Lab.load(settings.name)
        assert finish()
    assert Lab.load(settings.name).run("s1", ["true"]).returncode == 0
    assert Lab(settings).down()
    assert cleaning.remains(settings.name) == []


def test_a_command_as_application_that_fails_leaves_nothing(name: str) -> None:
    settings = Settings(name=name, servers=1, clients=0, app="echo oops; exit 3", bare=True)
    with pytest.raises(LabError, match="oops"):
        Lab(settings).up()
    assert cleaning.remains(settings.name) == []


def test_a_command_as_application_is_waited_for(name: str) -> None:
    command = (
        f'exec {sys.executable} -m ipos.lab.application --name "my $IPOS_NODE" --listen 0.0.0.0:80'
    )
    with Lab(Settings(name=name, servers=1, app=command, bare=True)) as lab:
        assert _curl(lab, f"http://{lab.front('s1')}/")[1] == b"my s1\n"
