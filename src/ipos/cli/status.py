# SPDX-License-Identifier: Apache-2.0
"""`ipos status`: this server, the farm as it sees it, and how full its tables are."""

import json
from typing import Any

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(add_completion=False)


@app.command()
def status(output: OutputOption = Output.TEXT) -> None:
    """Print the farm as this server sees it. Works with the agent dead, and says so."""
    from ipos.agent.observer import boottime_ns
    from ipos.agent.places import agent_runs, snapshot_file
    from ipos.agent.snapshot import read
    from ipos.agent.views import View
    from ipos.inic.maps import Tables
    from ipos.inic.pins import find_pin_directory

    snapshot = read(snapshot_file())
    view = View(Tables(find_pin_directory() / "maps"), snapshot, boottime_ns())
    document: dict[str, Any] = {
        "farm": snapshot.farm,
        "server": snapshot.me,
        "agent": "running" if agent_runs() else "not running",
        "servers": _servers(view),
        "services": _services(view),
        "connections": {
            "local": view.tables.local.count(),
            "forward_connect": view.tables.connect.count(),
            "forward": view.tables.forward.count(),
            "temporary": view.tables.temporary.count(),
            "held": view.tables.holding.count(),
        },
        "datagrams": snapshot.datagrams,
    }
    if output is Output.JSON:
        print(json.dumps(document))
    else:
        _print(document)


def _servers(view: Any) -> list[dict[str, Any]]:
    from ipos.agent.views import STATES

    advertised = {server.index: server for server in view.snapshot.servers}
    found = []
    for index, server in view.servers():
        said = advertised.get(index)
        found.append(
            {
                "server": said.server if said else None,
                "state": str(STATES[server.state]),
                "stale": server.stale,
                "address": str(server.address),
                "back_address": str(server.back_ip),
                "tcp_connections": server.tcp_connections,
                "cpu_utilisation": server.cpu_permille / 1000,
                "available_memory": server.memory_available,
                "available_bandwidth": server.bandwidth_available,
                "services": said.services if said else [],
                "age": view.age_s(server.updated_ns),
            }
        )
    return found


def _services(view: Any) -> list[dict[str, Any]]:
    found = []
    addresses = {index: str(server.address) for index, server in view.servers()}
    for index, name in enumerate(view.snapshot.services):
        service = view.tables.services.get(index)
        if service is None or not service.used:
            continue
        pool = view.tables.pools.get(service.pool)
        found.append(
            {
                "service": name,
                "port": service.port,
                "select": service.select.name.lower(),
                "policy": pool.policy.name.lower().replace("_", "-"),
                "application": f"{service.application_ip}:{service.application_port}",
                "servers": [addresses.get(one.server, "-") for one in pool.candidates],
            }
        )
    return found


def _print(document: dict[str, Any]) -> None:
    from ipos.cli.columns import print_rows

    print(f"{document['server']} of farm {document['farm']}, agent {document['agent']}\n")
    for title in ("servers", "services"):
        rows = document[title]
        if rows:
            header = [name.replace("_", " ") for name in rows[0]]
            print_rows(header, [list(row.values()) for row in rows])
            print()
    names = document["connections"]
    print("  ".join(f"{name.replace('_', ' ')} {count}" for name, count in names.items()))
