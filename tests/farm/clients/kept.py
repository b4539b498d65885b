# SPDX-License-Identifier: Apache-2.0
"""Many kept-alive connections, from one process: some ask again and again, some are idle.

    kept.py ASKING IDLE PAUSE_S ADDRESS[:PORT]...

All are answered once, then it says "up". The asking ones ask, PAUSE_S after each answer. After
each line "ask" that comes in, the idle ones ask once more, and it says "asked". After any other
line the asking ones stop and the idle ones ask once more. At the end comes one JSON object: how
many requests were answered, what failed and how often, and of each server that answered the times
of requests.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter, defaultdict

REQUEST = b"GET / HTTP/1.1\r\nHost: farm.example\r\n\r\n"
PATIENCE_S = 30
AT_ONCE = 64


class Tally:
    def __init__(self) -> None:
        self.answered = 0
        self.failed: Counter[str] = Counter()
        self.times: defaultdict[str, list[float]] = defaultdict(list)


class Kept:
    """One connection; a failure is counted, and the connection made anew."""

    def __init__(self, address: str, tally: Tally) -> None:
        host, _, port = address.partition(":")
        self._where = host, int(port or 80)
        self._tally = tally
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> None:
        sent = time.time()
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(*self._where)
                reader, writer = self._streams
                writer.write(REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(
                    line.lower().split(b": ", 1) for line in head.split(b"\r\n") if b": " in line
                )
                await reader.readexactly(int(fields[b"content-length"]))
        except (OSError, asyncio.IncompleteReadError, TimeoutError, KeyError) as error:
            self._tally.failed[type(error).__name__] += 1
            if self._streams is not None:
                self._streams[1].close()
            self._streams = None
            return
        self._tally.answered += 1
        self._tally.times[fields.get(b"x-served-by", b"?").decode()].append(round(sent, 3))
        if fields.get(b"connection") == b"close":
            self._streams[1].close()
            self._streams = None


async def main() -> None:
    asking, idle, pause_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    addresses, tally, stop = sys.argv[4:], Tally(), asyncio.Event()
    made = [Kept(addresses[nth % len(addresses)], tally) for nth in range(asking + idle)]
    await _in_turn(made)
    print("up", json.dumps(tally.failed), flush=True)

    async def goes_on(one: Kept, nth: int) -> None:
        await asyncio.sleep(pause_s * nth / max(asking, 1))
        while not stop.is_set():
            await one.ask()
            await asyncio.sleep(pause_s)

    running = [asyncio.create_task(goes_on(one, nth)) for nth, one in enumerate(made[:asking])]
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline) == "ask\n":
        await _in_turn(made[asking:])
        print("asked", flush=True)
    stop.set()
    await asyncio.gather(*running)
    await _in_turn(made[asking:])
    print(json.dumps(
        {"answered": tally.answered, "failed": tally.failed, "times": tally.times}
    ), flush=True)  # fmt: skip


async def _in_turn(made: list[Kept]) -> None:
    """Each asks once, so many at a time."""
    for begin in range(0, len(made), AT_ONCE):
        await asyncio.gather(*(one.ask() for one in made[begin : begin + AT_ONCE]))


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main())
