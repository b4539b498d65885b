# SPDX-License-Identifier: Apache-2.0
"""`ipos session`: the identified sessions, and which server has each."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipos.cli import completions
from ipos.cli.output import Output, OutputOption
from ipos.errors import IposError

if TYPE_CHECKING:  # the agent makes the rows, so the command rarely needs any of this
    from ipos.agent.view.table_views import View

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help='List, move and revoke sessions of kind = "identify".',
)
_ID = re.compile(r"[0-9a-f]{16}([0-9a-f]{24})?")
_PATIENCE_S = 150.0
Session = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The session: 16 hexadecimal digits, or the whole value of its cookie.",
    ),
]


@app.command("list")
def list_sessions(
    of: Annotated[
        str,
        typer.Option(
            "--server",
            metavar="S",
            autocompletion=completions.servers,
            help="Only the sessions of this server.",
        ),
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the sessions that live: identifier, service, server, moves, end."""
    import json
    from urllib.parse import quote

    from ipos.cli.fallback import ask_or_read
    from ipos.cli.text_table import print_rows

    def read(view: "View") -> list[dict[str, Any]]:
        from ipos.agent.view.session_list import session_list

        return session_list(view, of)

    rows = ask_or_read(f"/v1/sessions?server={quote(of, safe='')}", read)
    if output is Output.JSON:
        print(json.dumps(rows))
    else:
        print_rows(list(rows[0] if rows else ["session"]), [list(row.values()) for row in rows])


@app.command("move")
def move(
    to: Annotated[
        str,
        typer.Option(
            metavar="T", autocompletion=completions.servers, help="The server that gets them."
        ),
    ],
    session: Annotated[
        str,
        typer.Argument(
            metavar="[ID]",
            help="The session: 16 hexadecimal digits, or the whole value of its cookie.",
        ),
    ] = "",
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="S",
            autocompletion=completions.servers,
            help="All sessions of this server, in place of one.",
        ),
    ] = "",
) -> None:
    """Give a session, or all of a server, another server. Their clients keep their cookies.

    The next request of each goes there. Returns when all servers that are up know it.
    """
    if bool(session) is bool(source):
        raise typer.BadParameter("say which: one session, or --from a server")
    about = {"from": source} if source else {"session": _identifier(session)}
    found = _order("move", {**about, "to": to})
    print(f"{found['moved']} {'session' if found['moved'] == 1 else 'sessions'} moved to {to}")


@app.command("revoke")
def revoke(session: Session) -> None:
    """End a session: its client is given another server, and another identifier.

    Returns when all servers that are up know it. Connections that are open stay.
    """
    _order("revoke", {"session": _identifier(session)})


def _identifier(text: str) -> str:
    """Of an identifier, or of a cookie's value, which begins with it."""
    if not _ID.fullmatch(text.lower()):
        raise typer.BadParameter(
            f"{text} is no session: it has 16 hexadecimal digits, as `ipos session list` shows them"
        )
    return text.lower()[:16]


def _order(what: str, body: dict[str, str]) -> Any:
    from ipos.cli.client import Unanswered, ask

    try:
        return ask("POST", f"/v1/sessions/{what}", body, patience_s=_PATIENCE_S)
    except Unanswered as silence:
        raise IposError(f"{silence} to pass the order on: start it") from None
