# SPDX-License-Identifier: Apache-2.0
"""The demo's client: real HTTP/1.1 connections, every answer checked byte for byte.

`python -m ipos.demo.traffic --address 203.0.113.1 --server s1` runs in the client's namespace. It
writes its tally to stdout as a line of JSON, several times a second. When its stdin ends it lets
every connection come to its end, writes the last tally and exits.
"""

import argparse
import asyncio
import os
import random
import sys
from dataclasses import dataclass

from ipos.demo.tally import Tally
from ipos.lab.pattern import chunks

REPORT_S = 0.2
TIMEOUT_S = 5.0
"""A request that takes longer has failed: nothing in the farm may hang."""
BRISK_S, PATIENT_S = 0.0, 0.15
"""What a client waits between two requests of one connection."""
BETWEEN_S = 0.005
"""What it waits between two connections."""
MOST_REQUESTS = 4
"""A connection carries one to this many requests."""
_SIZES = (0, 1_000, 100_000)


class WrongAnswer(Exception):
    """An answer that is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: headers by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One response with a Content-Length. WrongAnswer, or an asyncio error when it is cut short."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    try:
        status, length = int(first.split(" ")[1]), int(headers["content-length"])
    except (IndexError, KeyError, ValueError):
        raise WrongAnswer(f"a response that cannot be read: {first!r}") from None
    return Answer(status, headers, await reader.readexactly(length))


def check(answer: Answer, size: int | None) -> tuple[str, str]:
    """Who answered, and the client's address as seen there. size: of the pattern; None: a name."""
    server = answer.headers.get("x-served-by", "")
    if answer.status != 200 or not server:
        raise WrongAnswer(f"status {answer.status} by {server or 'nobody'}")
    wanted = f"{server}\n".encode() if size is None else b"".join(chunks(size))
    if answer.body != wanted:
        raise WrongAnswer(f"{len(answer.body)} bytes by {server} that are not what it has")
    return server, answer.headers.get("x-client", "")


class Traffic:
    """Some clients at one address until they are told to stop."""

    def __init__(self, address: str, port: int, server: str, seed: int) -> None:
        self.tally = Tally()
        self.stopped = asyncio.Event()
        self._address, self._port, self._server = address, port, server
        self._random = random.Random(seed)

    async def client(self, pause_s: float) -> None:
        """Connection after connection. pause_s: between two requests."""
        while not self.stopped.is_set():
            try:
                await self._connection(self._random.randint(1, MOST_REQUESTS), pause_s)
            except (OSError, EOFError, asyncio.LimitOverrunError, WrongAnswer) as error:
                self.tally.failed(f"{type(error).__name__}: {error}".rstrip(": "))
            await asyncio.sleep(BETWEEN_S)

    async def _connection(self, requests: int, pause_s: float) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(self._address, self._port)
        try:
            for left in range(requests, 0, -1):
                size = self._random.choice((None, *_SIZES))
                async with asyncio.timeout(TIMEOUT_S):
                    writer.write(self._request(size, last=left == 1))
                    answer = await read_answer(reader)
                self.tally.answered(*check(answer, size), addressed=self._server)
                await asyncio.sleep(pause_s)
        finally:
            writer.close()

    def _request(self, size: int | None, *, last: bool) -> bytes:
        path = "/" if size is None else f"/bytes/{size}"
        connection = "close" if last else "keep-alive"
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self._address}\r\nConnection: {connection}\r\n\r\n"
        ).encode()


async def _report(traffic: Traffic) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        print(traffic.tally.to_json(), flush=True)


async def _run(options: argparse.Namespace) -> None:
    traffic = Traffic(options.address, options.port, options.server, options.seed)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), _end_of_input, traffic.stopped)
    reporter = asyncio.create_task(_report(traffic))
    paces = [BRISK_S] * options.brisk + [PATIENT_S] * options.patient
    await asyncio.gather(*map(traffic.client, paces))
    reporter.cancel()
    print(traffic.tally.to_json(), flush=True)


def _end_of_input(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopped.set()


def main() -> None:
    parser = argparse.ArgumentParser(prog="ipos.demo.traffic", description=__doc__)
    parser.add_argument("--address", required=True, help="the service address to connect to")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--server", required=True, help="whose address that is")
    parser.add_argument("--brisk", type=int, default=6, help="clients that do not wait")
    parser.add_argument("--patient", type=int, default=48, help="clients that keep connections")
    parser.add_argument("--seed", type=int, default=1, help="of sizes and numbers of requests")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
