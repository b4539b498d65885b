# SPDX-License-Identifier: Apache-2.0
"""`ipos capture`: writes the frames of the data plane in both directions, handshakes included, as
pcap.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from ipos.errors import IposError
from ipos.kernel.capture import Frame, PcapWriter, capturing
from ipos.kernel.pins import find_pin_directory
from ipos.termination import like_ctrl_c

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def capture(
    write: Annotated[
        Path | None, typer.Option("-w", "--write", help="File to write; default: stdout.")
    ] = None,
    count: Annotated[int, typer.Option("-c", "--count", min=0, help="End after N frames.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="End after this long.")] = 0,
) -> None:
    """Write what the iNIC receives and sends as pcap, until Ctrl-C. tcpdump sees no handshake."""
    if write is None and sys.stdout.isatty():
        raise IposError("pcap is not for a terminal: use -w FILE, or pipe it into tcpdump -nr -")
    written = 0
    try:
        with (
            like_ctrl_c(),  # the flag in the settings must be taken back
            capturing(find_pin_directory()) as frames,
            _stream(write) as stream,
        ):
            writer = PcapWriter(stream)
            print("capturing; Ctrl-C ends it", file=sys.stderr)
            for frame in _limited(frames, count, seconds):
                writer.write(frame)
                written += 1
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # both are how a capture ends
    print(f"{written} frames", file=sys.stderr)


def _limited(frames: Iterator[Frame | None], count: int, seconds: float) -> Iterator[Frame]:
    """Frames until there were `count` or `seconds` have passed; 0 is no limit."""
    end = time.monotonic() + seconds if seconds else float("inf")
    left = count or float("inf")
    for frame in frames:
        if frame is not None:
            yield frame
            left -= 1
        if left <= 0 or time.monotonic() >= end:
            return


def _stream(path: Path | None) -> "nullcontext[BinaryIO] | BinaryIO":
    if path is None:
        return nullcontext(sys.stdout.buffer)
    try:
        return path.open("wb")
    except OSError as error:
        raise IposError(f"cannot write {path}: {error.strerror}") from None
