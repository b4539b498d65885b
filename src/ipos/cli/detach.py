# SPDX-License-Identifier: Apache-2.0
"""`ipos detach`: the only thing that stops the data plane."""

import typer

from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def detach() -> None:
    """Stop the data plane on this server and take back what the agent changed here.

    Connections that another server's address brought here end; drain the server first.
    """
    from ipos.agent import farewell, snapshot
    from ipos.agent.network import Network
    from ipos.agent.places import agent_pid, changes_file, ready_file, snapshot_file
    from ipos.inic import kernel
    from ipos.inic.layout import constant
    from ipos.inic.maps import Tables
    from ipos.inic.pins import find_pin_directory

    if agent_pid():
        raise IposError("the agent is running and would load the data plane anew: stop it first")
    try:
        directory = find_pin_directory()
        # Of another ABI we can read nothing, but take all of it away.
        known = kernel.adopt(directory).abi == constant("IPOS_ABI")
        settings = Tables(directory / "maps").settings.get(0) if known else None
        kernel.detach(directory)
        said = snapshot.read(snapshot_file())
        if settings is not None and said.config:
            try:
                farewell.say(said, settings)
            except (IposError, OSError, KeyError) as error:
                typer.echo(f"detached; could not tell the other servers so: {error}", err=True)
    finally:
        Network(changes_file()).restore()
        for file in (snapshot_file(), ready_file()):
            file.unlink(missing_ok=True)
