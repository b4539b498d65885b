# SPDX-License-Identifier: Apache-2.0
"""The agent's life: start, run, stop.

The end of an agent, of whatever kind, changes nothing in the kernel: the data plane goes on, and
only `ipos detach` removes it. What a running agent does ten times a second is in
`ipos.agent.beat`, how it takes a new configuration in `ipos.agent.reload`.
"""

import asyncio
import signal
from contextlib import ExitStack
from pathlib import Path

import structlog

from ipos.agent import startup
from ipos.agent.assembly import Assembly, assemble
from ipos.agent.host import paths
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.systemd import STOPPING, notify
from ipos.agent.http.agent_control import Reloads
from ipos.agent.loop import tasks
from ipos.agent.startup import Parts
from ipos.agent.view.drain_report import only_server_of
from ipos.config.schema import Config

log = structlog.get_logger()


class Agent:
    """One server's agent. Call `start` once, then `run`, which ends when it is told to stop."""

    def __init__(self, config: Config, file: Path) -> None:
        self._config = config
        self._file = file.absolute()
        self._reloads = Reloads()
        self._parts: Parts
        self._tasks: tasks.Tasks
        self._assembly: Assembly

    def start(self) -> None:
        """Make the data plane serve. IposError says what is in the way."""
        # First of all: until it is handled, a SIGHUP would end this process.
        signal.signal(signal.SIGHUP, lambda *_: self._reloads.ask() and None)
        self._parts = startup.start(self._config, self._file)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; read the configuration again on SIGHUP."""
        self._tasks = tasks.Tasks()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._reloads.ask)
        with ExitStack() as stack:
            self._assembly = assemble(stack, self._parts, self._reloads, self._tasks)
            await self._live()
        await asyncio.to_thread(self._parts.decisions.close)
        paths.api_socket().unlink(missing_ok=True)
        paths.ready_file().unlink(missing_ok=True)
        if self._tasks.fault is not None:
            raise self._tasks.fault

    def _end(self, number: int) -> None:
        """Stop, or first leave the farm in order; told twice, stop at once."""
        server, departure = self._parts.config.server, self._assembly.departure
        leaves = number == signal.SIGTERM and server.on_stop == "leave"
        if not leaves or departure.has_begun or self._tasks.stopping.is_set():
            self._tasks.stopping.set()
            return
        alone = only_server_of(self._assembly.serving.view(), server.name)
        if alone:
            log.warning("this server stays, because no other can serve the same", what=alone)
            self._tasks.stopping.set()
            return
        departure.begin(server.name, server.leave_timeout_s)

    async def _live(self) -> None:
        parts, made, loop = self._parts, self._assembly, asyncio.get_running_loop()
        running = [asyncio.create_task(one) for one in made.jobs]
        loop.add_reader(made.prober.fileno(), made.exchange.take_probe_answers)
        parts.checks.converge(parts.config.service)
        # A member from before has the usual time to answer from now on: nobody has asked it yet.
        now_ns = boottime_ns()
        parts.members.slept(now_ns - parts.recalled_ns, now_ns)
        made.beat.start()
        try:
            await self._tasks.stopping.wait()
        finally:
            self._tasks.stopping.set()
            made.beat.stop()
            await asyncio.to_thread(notify, STOPPING)
            parts.checks.stop()
            loop.remove_reader(made.prober.fileno())
            for task in running:
                await tasks.stop(task)
            await self._tasks.wait()
