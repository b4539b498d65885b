# SPDX-License-Identifier: Apache-2.0
"""A server's application for the farm tests: gRPC and WebSocket by their own libraries.

    python applications.py GRPC_PORT WEBSOCKET_PORT

Its name is the node's.
gRPC: /farm.Echo/Say answers its message with the server's name before it, /farm.Echo/Chat does so
with each of a stream's. WebSocket: it names itself, then sends back what comes, as it came.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


async def main(name: str, grpc_port: int, websocket_port: int) -> None:
    me = name.encode() + b" "

    async def say(message: bytes, _context: object) -> bytes:
        return me + message

    async def chat(messages: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for message in messages:
            yield me + message

    async def echo(connection: ServerConnection) -> None:
        await connection.send(name)
        async for message in connection:
            await connection.send(message)

    def plain(connection: ServerConnection, request: Request) -> Response | None:
        """What asks for no upgrade gets an answer of HTTP's."""
        if "Upgrade" in request.headers:
            return None
        response = connection.respond(200, name + "\n")
        response.headers["X-Served-By"] = name
        return response

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {
        "Say": grpc.unary_unary_rpc_method_handler(say),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("farm.Echo", handlers),))
    server.add_insecure_port(f"0.0.0.0:{grpc_port}")
    await server.start()
    async with serve(
        echo, "0.0.0.0", websocket_port, process_request=plain, max_size=None, compression=None
    ):
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(os.environ["IPOS_NODE"], int(sys.argv[1]), int(sys.argv[2])))
