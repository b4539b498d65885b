# SPDX-License-Identifier: Apache-2.0
"""`ipos drain`: takes the connections from a server, without failing one of them."""

import re
from typing import Annotated, Any

import typer

from ipos.cli import completions
from ipos.cli.output import Output, OutputOption
from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

LOOK_S = 0.1
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@app.command()
def drain(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SERVER",
            autocompletion=completions.servers,
            help="The server's name, such as s2.",
        ),
    ],
    deadline: Annotated[
        str,
        typer.Option(
            metavar="T", help="Reset what is left after this time, such as 30s, 5m or 1h."
        ),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Report until the server has no connection left.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if no other server can serve the same.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Give a server nothing new, and take its connections away from it.

    Connections move with their next request, idle ones go back to their first servers at once, and
    busy ones follow when they are answered. Those that are no HTTP/1 stay until they end, or until
    the deadline. `ipos server set SERVER ready` ends the drain.
    """
    from urllib.parse import quote

    from ipos.cli.client import Unanswered, ask

    path = f"/v1/servers/{quote(name, safe='')}"
    wanted = {"state": "drain", "deadline": _seconds(deadline), "force": force}
    try:
        ask("PUT", f"{path}/state", wanted)
        report = ask("GET", f"{path}/drain")
        while wait and not report["empty"]:
            report = _changed(path, report, output)
    except Unanswered as silence:
        raise IposError(f"{silence} to pass the order on: start it") from None
    _print(report, output)


def _changed(path: str, before: dict[str, Any], output: Output) -> dict[str, Any]:
    """Print a report, and return the next one that says anything else."""
    import time

    from ipos.cli.client import ask

    _print(before, output)
    while True:
        time.sleep(LOOK_S)
        report: dict[str, Any] = ask("GET", f"{path}/drain")
        if _told(report) != _told(before):
            return report


def _told(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key != "deadline"}


def _print(report: dict[str, Any], output: Output) -> None:
    import json

    print(json.dumps(report) if output is Output.JSON else _sentence(report), flush=True)


def _sentence(report: dict[str, Any]) -> str:
    done = [f"{report['moved']} moved", f"{report['handed_back']} handed back"]
    if report["reset"]:
        done.append(f"{report['reset']} reset")
    if report["left"] is None:
        left = "it has not looked yet"
    elif report["empty"]:
        left = "no connection left"
    else:
        reasons = (f"{number} {reason}" for reason, number in report["left"].items())
        left = f"{sum(report['left'].values())} left ({', '.join(reasons)})"
    also = []
    if report["forwards"]:
        also.append(f"gives {report['forwards']} on")
    if report["addresses"]:
        also.append(f"holds {', '.join(report['addresses'])}")
    told = f"{report['server']}: {', '.join(done)}, {left}"
    return told + (f"; {' and '.join(also)}" if also else "")


def _seconds(text: str) -> int:
    """Of a time with or without its unit; 0 for none."""
    if not text:
        return 0
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    if found is None or not int(found[1]):
        raise typer.BadParameter(f"{text} is no time: say 30s, 5m or 1h", param_hint="--deadline")
    return int(found[1]) * _UNITS[found[2]]
