# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of `ipos demo` in order, and leaves nothing behind."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ipos.demo.farm import Farm
from ipos.demo.recording import record
from ipos.demo.screen import Screen
from ipos.demo.summary import Outcome
from ipos.demo.tally import Tally
from ipos.errors import IposError
from ipos.lab import state
from ipos.lab.lab import Lab
from ipos.lab.plan import CLIENT_LAN, Settings
from ipos.termination import like_ctrl_c

FIRST, DRAINED = "s1", "s2"
_UNTIL_DRAIN = 0.6
"""Share of the time before a server is drained."""
_SETTLE_S = 1.0
"""The longest that a connection of the client lives."""
_LOOK_EVERY_S = 0.4
_TOOLS = {"curl": "curl", "nginx": "nginx-light"}
"""Command -> the Debian package it comes from."""


def unused_name() -> str:
    """A name for the lab: two demos may run at once."""
    return f"demo-{secrets.token_hex(3)}"


def run(name: str, seconds: float, screen: Screen) -> Outcome:
    """The demo in a lab of that name, with traffic for so many seconds.

    IposError says what is in the way; whatever happens, the lab is gone afterwards.
    """
    _require()
    if state.read(name) is not None:
        raise IposError(
            f"there is a lab {name} already, which the demo would remove; choose another"
        )
    settings = Settings(name=name, servers=3, clients=1)
    with screen, like_ctrl_c():
        screen.phase("building a farm of three servers, a router and a client ...")
        with _lab(settings, screen) as lab:
            screen.phase("capturing one connection on all three ...")
            recording = record(lab, FIRST)
            with _traffic(lab) as traffic:
                watch = _Watch(traffic, Farm(lab), screen)
                screen.phase(f"real traffic, all of it to {lab.front(FIRST)}, which is {FIRST}'s:")
                watch.run_for(seconds * _UNTIL_DRAIN)
                screen.phase(f"draining {DRAINED}: it keeps what it has and gets nothing new")
                _drain(lab, DRAINED)
                watch.run_for(_SETTLE_S)
                before = watch.tally
                watch.run_for(seconds * (1 - _UNTIL_DRAIN))
                tally = watch.finish()
            client = lab.clients[0].address(CLIENT_LAN)
            return Outcome(
                tally=tally,
                first=FIRST,
                address=lab.front(FIRST),
                drained=DRAINED,
                after=tally.since(before),
                client=client,
                seconds=watch.seconds,
                recording=recording,
            )


class _Watch:
    """Reads what the client says and shows it."""

    def __init__(self, traffic: subprocess.Popen[str], farm: Farm, screen: Screen) -> None:
        self.tally = Tally()
        self._traffic, self._farm, self._screen = traffic, farm, screen
        self._started = time.monotonic()
        self._looked = 0.0
        self.seconds = 0.0

    def run_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._read_while(lambda: time.monotonic() < end)

    def finish(self) -> Tally:
        """Let the client come to its end; all that it saw."""
        assert self._traffic.stdin is not None
        self._traffic.stdin.close()
        self._read_while(lambda: True)
        if self._traffic.wait() != 0:
            raise IposError(f"the demo's client failed with status {self._traffic.returncode}")
        self.seconds = time.monotonic() - self._started
        return self.tally

    def _read_while(self, going_on: Callable[[], bool]) -> None:
        assert self._traffic.stdout is not None
        assert self._traffic.stdin is not None
        while going_on():
            line = self._traffic.stdout.readline()
            if not line:
                if self._traffic.stdin.closed:
                    return
                raise IposError("the demo's client ended early; what it said is above")
            self.tally = Tally.from_json(line)
            if time.monotonic() - self._looked > _LOOK_EVERY_S:
                self._looked = time.monotonic()
                self._screen.show(self.tally, self._farm.look())


def _drain(lab: Lab, server: str) -> None:
    command = ["ipos", "server", "set", server, "drain"]
    done = lab.run(FIRST, command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise IposError(f"{server} could not be drained: {done.stderr.strip()}")


@contextmanager
def _traffic(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """The client, started; dead at the end of the block whatever happens."""
    command = [sys.executable, "-m", "ipos.demo.traffic"]
    command += ["--address", lab.front(FIRST), "--server", FIRST]
    traffic = lab.popen(
        lab.clients[0].name,
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A Ctrl-C at the terminal is for the demo; the client ends because its stdin does.
        start_new_session=True,
    )
    try:
        yield traffic
    finally:
        traffic.kill()
        traffic.wait()
        for stream in (traffic.stdin, traffic.stdout):
            if stream is not None and not stream.closed:
                stream.close()


@contextmanager
def _lab(settings: Settings, screen: Screen) -> Iterator[Lab]:
    """The lab, up; gone at the end of the block, and nobody interrupts that."""
    lab = Lab(settings)
    try:
        lab.up()
        yield lab
    finally:
        with _undisturbed():
            screen.phase("removing the farm ...")
            lab.down()


@contextmanager
def _undisturbed() -> Iterator[None]:
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require() -> None:
    if os.geteuid() != 0:
        raise IposError(
            "the demo builds a farm out of network namespaces and BPF programs, which takes root; "
            "run: sudo ipos demo"
        )
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise IposError(f"the demo needs the command {tool}; run: apt install {package}")
