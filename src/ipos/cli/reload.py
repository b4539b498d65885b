# SPDX-License-Identifier: Apache-2.0
"""`ipos reload`: the agent takes its changed configuration, all of it or none."""

import os
import signal
import time

import typer

from ipos.errors import IposError

app = typer.Typer(add_completion=False)

_WAIT_S = 5.0
_LOOK_S = 0.02


@app.command()
def reload() -> None:
    """Have the agent read its configuration file again. No connection is disturbed.

    Returns when it has been taken, and says why when it has not.
    """
    from ipos.agent import snapshot
    from ipos.agent.places import agent_pid, snapshot_file

    pid = agent_pid()
    if pid is None:
        raise IposError("no agent is running on this server: start it, it reads the file then")
    before = snapshot.read(snapshot_file()).loaded
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        now = snapshot.read(snapshot_file())
        if now.loaded != before:
            if now.refused:
                raise IposError(now.refused)
            return
        time.sleep(_LOOK_S)
    raise IposError(f"the agent (process {pid}) did not answer in {_WAIT_S:.0f} s; see its log")
