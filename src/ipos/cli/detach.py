# SPDX-License-Identifier: Apache-2.0
"""`ipos detach`: removes the data plane; nothing else stops it."""

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from ipos.errors import IposError

if TYPE_CHECKING:
    from ipos.abi.rows import Settings
    from ipos.agent.holders.farewell import Voice
    from ipos.agent.snapshot.snapshot import Snapshot
    from ipos.kernel.maps import Tables

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def detach() -> None:
    """Stop the data plane on this server and take back what the agent changed here.

    Other servers hold its addresses first, and find the connections that it gave on. Those that its
    own applications have end; drain the server first. Applications that the agent has started are
    stopped.
    """
    from ipos.abi.layout import constant
    from ipos.agent.host import boxes
    from ipos.agent.host.paths import changes_file, snapshot_file
    from ipos.agent.snapshot import snapshot
    from ipos.kernel import box_hooks, data_plane
    from ipos.kernel.libbpf.errors import NotLoaded
    from ipos.kernel.maps import Tables
    from ipos.kernel.pins import find_pin_directory, is_on_hooks, pinned

    said = snapshot.read(snapshot_file())
    if not pinned():  # an agent that could not load it may have prepared the network
        _expect_no_agent()
        was_prepared = changes_file().exists()
        _restore("", "")
        if was_prepared:
            return
        raise NotLoaded("no data plane is loaded here, so there is nothing to detach")
    directory = find_pin_directory()
    own = bool(said.farm) and said.is_of(directory)
    if not own and any(is_on_hooks(other) for other in pinned() if other != directory):
        # The network was prepared for the other one, and its agent may run.
        data_plane.detach(directory)
        return
    _expect_no_agent()
    # Of another ABI we can read nothing, but take all of it away.
    known = data_plane.adopt(directory).abi == constant("IPOS_ABI")
    settings = Tables(directory / "maps").settings.get(0) if known else None
    front = "" if settings is None else _name(settings.front_ifindex)
    back = "" if settings is None else _name(settings.back_ifindex)
    voice = _voice(said, settings) if own and settings is not None else None
    if voice is not None and settings is not None:
        _hand_over(voice, Tables(directory / "maps"), back, settings.self)
    try:
        containers = box_hooks.indices(directory)
        data_plane.detach(directory)
        if voice is not None:
            _say_down(voice)
        boxes.release(containers)
        _stop_applications()
    finally:
        _restore(front, back)
        if voice is not None:
            voice.close()


def _voice(said: "Snapshot", settings: "Settings") -> "Voice | None":
    from ipos.agent.holders.farewell import Voice

    try:
        return Voice(said, settings)
    except (IposError, OSError, KeyError) as error:
        typer.echo(f"cannot tell the other servers that this one is detached: {error}", err=True)
        return None


def _hand_over(voice: "Voice", tables: "Tables", back: str, index: int) -> None:
    """What cannot be handed over is taken by others when they hear that this server is down."""
    from ipos.agent.holders import farewell

    try:
        left = farewell.hand_over(voice, tables, back, index, time.sleep)
    except (IposError, OSError) as error:
        typer.echo(f"cannot hand the addresses over before detaching: {error}", err=True)
        return
    if left:
        addresses = ", ".join(map(str, left))
        typer.echo(f"no other server has taken {addresses}; detached all the same", err=True)


def _say_down(voice: "Voice") -> None:
    from ipos.abi.rows import ServerState

    try:
        voice.say(ServerState.DOWN)
    except OSError as error:
        typer.echo(f"detached; could not tell the other servers so: {error}", err=True)


def _stop_applications() -> None:
    from ipos.agent.host.paths import instances_file
    from ipos.instance import ending

    left = ending.stop_all(instances_file())
    if left:
        typer.echo(f"applications that do not end: {', '.join(left)}", err=True)


def _expect_no_agent() -> None:
    from ipos.agent.host.paths import agent_pid

    if agent_pid() is not None:
        raise IposError("the agent is running and would load the data plane anew: stop it first")


def _restore(front: str, back: str) -> None:
    from ipos.agent.host.paths import changes_file, ready_file, serving_file, snapshot_file
    from ipos.agent.network.interfaces import Network

    Network(changes_file()).restore(front, back)
    for file in (snapshot_file(), ready_file(), serving_file()):
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _name(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:  # it has gone, and so have its settings
        return ""
