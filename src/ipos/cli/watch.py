# SPDX-License-Identifier: Apache-2.0
"""`ipos watch`: shows connections as they are decided."""

import json
import sys
import time
from typing import Annotated, Any

import typer

from ipos.cli.output import Output, OutputOption
from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def watch(
    count: Annotated[int, typer.Option("-c", "--count", min=0, help="End after N events.")] = 0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print how each connection that comes to this server is decided, until Ctrl-C.

    The data plane reports each decision as it makes it, and only while somebody watches. JSON is
    one object per line. Events: new, again (after a refusal, or the death of the server chosen
    before), refused, at the owner taken over, and for later requests of a connection stays, moved.
    """
    from ipos.cli.client import follow

    told = 0
    try:
        for line in follow("/v1/events"):
            if not line:
                print("watching; Ctrl-C ends it", file=sys.stderr)
                continue
            print(line if output is Output.JSON else _text(json.loads(line)), flush=True)
            told += 1
            if told == count:
                return
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # who read our output has seen enough
        sys.stderr.close()
        return
    raise IposError("the agent has ended")


def _text(event: dict[str, Any]) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    if event["event"] == "more":
        return f"{when}  and {event['count']} more"
    text = f"{when}  {event['client']} -> {event['service_address']}  "
    text += f"{event['service'] or '-'}  {event['event']}"
    if event["event"] == "taken over":
        return f"{text} from {event['first_server'] or '-'}"
    server = f" {event['server']}" if event["server"] else ""
    text += f"{server}: {event['reason']}"
    if event["path"]:
        text += f"  {json.dumps((event['host'] or '') + event['path'])}"
    return f"{text}  by route {event['route']}, {event['rule'] or '-'}" if event["route"] else text
