# SPDX-License-Identifier: Apache-2.0
"""`ipos explain URL`: says which server would get a request now, and why."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipos.cli.output import Output, OutputOption

if TYPE_CHECKING:  # the agent makes the document, so the command rarely needs any of this
    from ipos.agent.view.table_views import View

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS = (
    *("server", "address", "state", "weight", "connections", "cpu_utilisation"),
    *("short_of", "price", "score", "usable", "share", "reason"),
)


@app.command()
def explain(
    url: Annotated[str, typer.Argument(help="Such as http://203.0.113.1/img/logo.png.")],
    client: Annotated[str, typer.Option(metavar="IP", help="The client's address.")] = "",
    cookie: Annotated[str, typer.Option(metavar="C", help="Its Cookie header: name=value.")] = "",
    alpn: Annotated[
        str, typer.Option(metavar="P", help="Protocols that it offers in TLS: h2,http/1.1.")
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Say which service, rule and servers a request would meet, and which of them could get it.

    From the rows of the running iNIC; works with the agent dead.
    """
    from urllib.parse import urlencode

    from ipos.cli.fallback import ask_or_read

    asked = urlencode({"url": url, "client": client, "cookie": cookie, "alpn": alpn})

    def read(view: "View") -> dict[str, Any]:
        from ipos.agent.view.explanation import explain

        return explain(view, url, client, cookie, alpn).document()

    document: dict[str, Any] = ask_or_read(f"/v1/explain?{asked}", read)
    if output is Output.JSON:
        print(json.dumps(document))
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    from ipos.cli.text_table import print_rows

    first = document["first_server"] or "any server"
    print(f"service {document['service']}, first server {first}, policy {document['policy']}")
    for line in (document["rule"], *document["notes"]):
        print(line)
    print()
    rows = [[server[name] for name in _COLUMNS] for server in document["servers"]]
    print_rows([name.replace("_", " ") for name in _COLUMNS], rows)
    print()
    for decision in document["decisions"]:
        print(f"{decision['share']:>6.1%}  {decision['server'] or 'nobody'}  {decision['reason']}")
