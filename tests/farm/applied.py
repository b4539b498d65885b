# SPDX-License-Identifier: Apache-2.0
"""A farm with applications of its own: gRPC and WebSocket servers, raw answers, files.

One lab for all tests that need one of them; conftest.py brings it up.
"""

import sys
from pathlib import Path
from typing import Final

from tests.support.farm import SERVERS

GRPC, ONCE, EVERY = 50051, 8081, 8082
"""gRPC's and two of one WebSocket server's: decided once, and at every request."""

INSERT, FILES, RAW, RAW_EVERY = 8083, 8084, 8085, 8086
"""Sessions by inserted cookies: raw answers and files. And raw answers without sessions."""

INSERT_EVERY, ASKING, APACHE = 8087, 8088, 8089
"""Sessions by inserted cookies at every request, before an application that asks how much it may
read, and before Apache."""

_WEBSOCKET, _RAW = 8080, 8090

CONFIG: Final = f"""\
[[service]]
name = "grpc"
port = {GRPC}
policy = "round-robin"
slow_start_ms = 0

[[service]]
name = "once"
port = {ONCE}
application = "0.0.0.0:{_WEBSOCKET}"

[[service]]
name = "every"
port = {EVERY}
application = "0.0.0.0:{_WEBSOCKET}"
decide = "request"

[[service]]
name = "insert"
port = {INSERT}
application = "0.0.0.0:{_RAW}"
policy = "round-robin"
slow_start_ms = 0
session = {{ kind = "insert", max_age_s = 600, secure = true, same_site = "lax" }}

[[service]]
name = "files"
port = {FILES}
application = "0.0.0.0:{FILES}"
policy = "round-robin"
slow_start_ms = 0
session = {{ kind = "insert" }}

[[service]]
name = "insert-every"
port = {INSERT_EVERY}
application = "0.0.0.0:{_RAW}"
decide = "request"
session = {{ kind = "insert" }}

[[service]]
name = "asking"
port = {ASKING}
application = "0.0.0.0:{ASKING}"
policy = "round-robin"
slow_start_ms = 0
session = {{ kind = "insert" }}

[[service]]
name = "apache"
port = {APACHE}
application = "0.0.0.0:{APACHE}"
policy = "round-robin"
slow_start_ms = 0
session = {{ kind = "insert" }}

[[service]]
name = "raw"
port = {RAW}
application = "0.0.0.0:{_RAW}"

[[service]]
name = "raw-every"
port = {RAW_EVERY}
application = "0.0.0.0:{_RAW}"
decide = "request"
""" + "".join(
    f"""
[[route]]
service = "{service}"
path = "/{server}/"
servers = ["{server}"]

[[route]]
service = "{service}"
host = "{server}.example"
servers = ["{server}"]
"""
    for service in ("once", "every", "raw", "raw-every", "insert-every")
    for server in SERVERS
)

_DIRECTORY = Path(__file__).parent / "clients"
COMMAND: Final = (
    f"{sys.executable} {_DIRECTORY}/applications.py {GRPC} {_WEBSOCKET} & "
    f"exec {sys.executable} {_DIRECTORY}/raw.py {_RAW} {FILES} {ASKING} {APACHE}"
)
