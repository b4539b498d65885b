# SPDX-License-Identifier: Apache-2.0
"""`ipos route`: the rules by which hosts and paths go to pools."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipos.cli.output import Output, OutputOption

if TYPE_CHECKING:  # the agent makes the documents, so the command rarely needs any of this
    from ipos.agent.view.table_views import View

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the rules by host and path, or say which one a URL meets.",
)


@app.command("list")
def list_routes(output: OutputOption = Output.TEXT) -> None:
    """Print the rules that requests follow here now, and where other requests go.

    From the running iNIC; works with the agent dead.
    """
    from ipos.cli.fallback import ask_or_read
    from ipos.cli.text_table import print_rows

    rows = ask_or_read("/v1/routes", _read)
    if output is Output.JSON:
        print(json.dumps(rows))
    else:
        header = ["route", "service", "host", "path", "alpn", "pool", "servers"]
        if not any(row["alpn"] for row in rows):
            header.remove("alpn")
        print_rows(header, [[row[name] for name in header] for row in rows])


def _read(view: "View") -> list[dict[str, Any]]:
    from ipos.agent.view.rules_in_force import route_list

    return route_list(view)


@app.command("test")
def try_url(
    url: Annotated[str, typer.Argument(help="Such as http://www.example.org/img/logo.png.")],
    service: Annotated[
        str, typer.Option(metavar="S", help="The service; default: by the URL's port.")
    ] = "",
    alpn: Annotated[
        str, typer.Option(metavar="P", help="Protocols that a client offers in TLS: h2,http/1.1.")
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Say which rule a URL meets, why, and which others fit as well.

    From the running iNIC; works with the agent dead.
    """
    from urllib.parse import urlencode

    from ipos.cli.fallback import ask_or_read

    def read(view: "View") -> dict[str, Any]:
        from ipos.agent.view.rules_in_force import route_test

        return route_test(view, url, service, alpn)

    asked = urlencode({"url": url, "service": service, "alpn": alpn})
    found: dict[str, Any] = ask_or_read(f"/v1/routes/test?{asked}", read)
    if output is Output.JSON:
        print(json.dumps(found))
        return
    said = f"alpn {','.join(found['alpn'])}" if found["alpn"] else f"path {found['path']}"
    print(f"service {found['service']}, host {found['host']}, {said}")
    if found["route"] is None:
        print(f"{found['reason']}: {found['pool']} ({', '.join(found['servers']) or 'nobody'})")
    else:
        print(f"route {found['route']}, {found['rule']}: {found['reason']}")
        print(f"to {found['pool']} ({', '.join(found['servers']) or 'nobody'})")
    for other in found["others"]:
        print(f"not route {other['route']}, {other['rule']}: {other['reason']}")
