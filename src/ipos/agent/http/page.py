# SPDX-License-Identifier: Apache-2.0
"""The page at the root of the agent's TCP port: one file, without anything from elsewhere."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

PATH = "/"
_FILE = Path(__file__).with_name("dashboard.html")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


async def page(request: Request) -> Response:
    return Response(_FILE.read_bytes(), media_type="text/html", headers=_HEADERS)
