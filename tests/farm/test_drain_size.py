# SPDX-License-Identifier: Apache-2.0
"""1,000 clients that ask and 2,000 idle ones, while each server drains in turn, twice.

Beside it, the same clients through HAProxy in one server, which is reloaded, and whose servers are
drained by its own command, and through nginx, which is reloaded. What failed there is printed.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ipos.lab import Lab, Settings
from tests.farm.test_drain import drain, ready, resets
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]

CLIENT = Path(__file__).parent / "clients" / "kept.py"
ASKING, IDLE, PAUSE_S = 1_000, 2_000, "1.5"
CONFIG = """\
[[service]]
name = "web"
port = 80
decide = "request"
"""
HAPROXY = """\
global
    maxconn 8192
    master-worker
    stats socket {socket} level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 60s
listen farm
    bind {address}:443
    balance leastconn
    {servers}
"""
NGINX = """\
pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_rlimit_nofile 32768;
worker_processes 2;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000;
    upstream farm {{ {servers} keepalive 64; }}
    server {{
        listen {address}:443;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://farm; }}
    }}
}}
"""


@contextmanager
def clients(lab: Lab, *addresses: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """All of them, answered once; the call ends them and says what became of their requests."""
    command = ["python3", str(CLIENT), str(ASKING), str(IDLE), PAUSE_S, *addresses]
    running = lab.popen(
        "client1", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        up = running.stdout.readline()
        assert up.startswith("up {}"), up

        def end() -> dict[str, Any]:
            told, _ = running.communicate("end\n", timeout=200)
            found: dict[str, Any] = json.loads(told)
            return found

        yield end
    finally:
        running.kill()
        running.wait()


def test_each_server_drains_twice_and_nobody_notices() -> None:
    with Lab(Settings(name=f"ft{os.getpid()}-z", config=CONFIG)) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready)
        before = resets(farm)
        drained = []
        with clients(lab, *(farm.address(server) for server in SERVERS)) as end:
            for server in SERVERS * 2:
                last = drain(farm, server)[-1]
                took_s = time.time() - last["since"]
                print(f"{server}: {last['moved']} moved, {last['handed_back']} handed back, "
                      f"empty within {took_s:.1f} s")  # fmt: skip
                assert last["reset"] == 0
                emptied = time.time()
                time.sleep(1)  # in which it must not be asked
                drained.append((server, last["since"] + 1, emptied, time.time()))
                ready(farm, server)
            told = end()
        print(f"ipos: {told['answered']} answered, failed: {told['failed']}")
        assert told["failed"] == {}
        for server, second, emptied, until in drained:
            times = [sent for sent in told["times"].get(server, ()) if second < sent < until]
            print(f"{server}: asked {len(times)} times later than a second after its order")
            assert not [sent for sent in times if sent > emptied], f"{server} was asked when empty"
        assert resets(farm) == before


def test_the_same_clients_through_others(tmp_path: Path) -> None:
    with Lab(Settings(name=f"ft{os.getpid()}-y", bare=True)) as lab:
        for name, through in (("HAProxy", _through_haproxy), ("nginx", _through_nginx)):
            for what, told in through(lab, tmp_path):
                print(f"{name}, {what}: {told['answered']} answered, failed: {told['failed']}")


def _through_haproxy(lab: Lab, directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    control, file = directory / "haproxy.sock", directory / "haproxy.cfg"
    servers = "\n    ".join(f"server {one} {lab.front(one)}:80" for one in SERVERS)
    file.write_text(HAPROXY.format(socket=control, address=lab.front("s1"), servers=servers))
    proxy = lab.popen("s1", ["haproxy", "-W", "-f", str(file)], stderr=subprocess.DEVNULL)
    try:
        wait_until("HAProxy is there", control.exists)
        with clients(lab, f"{lab.front('s1')}:443") as end:
            for server in SERVERS:
                _say(control, f"set server farm/{server} state drain")
                time.sleep(3)
                _say(control, f"set server farm/{server} state ready")
            yield "each server in drain", end()
        with clients(lab, f"{lab.front('s1')}:443") as end:
            for _ in range(3):
                proxy.send_signal(signal.SIGUSR2)
                time.sleep(3)
            yield "reloaded three times", end()
    finally:
        proxy.terminate()
        proxy.wait(20)


def _say(control: Path, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(control))
        asked.sendall(command.encode() + b"\n")
        asked.recv(4096)


def _through_nginx(lab: Lab, directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    file = directory / "nginx.conf"
    servers = "".join(f"server {lab.front(one)}:80; " for one in SERVERS)
    text = NGINX.format(directory=directory, address=lab.front("s1"), servers=servers)
    file.write_text(text)
    proxy = lab.popen("s1", ["nginx", "-c", str(file), "-g", "daemon off;"])
    try:
        wait_until("nginx is there", (directory / "nginx.pid").exists)
        with clients(lab, f"{lab.front('s1')}:443") as end:
            for _ in range(3):
                proxy.send_signal(signal.SIGHUP)
                time.sleep(3)
            yield "reloaded three times", end()
    finally:
        proxy.terminate()
        proxy.wait(20)
