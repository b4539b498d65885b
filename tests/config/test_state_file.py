# SPDX-License-Identifier: Apache-2.0
"""State files: whole or set aside; whatever is at their path ends nobody."""

import os
import socket
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipos import state_file
from ipos.agent.heartbeat.message import Order
from ipos.agent.network.change_record import Changes
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.errors import IposError
from ipos.files import FileError, read_bounded, write_whole

KINDS = {list[Order]: [Order("s2", 2, 5)], Changes: Changes({}, [], ["203.0.113.1"])}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for kind, value in {**KINDS, Snapshot: Snapshot(farm="shop")}.items():
        state_file.write(tmp_path / "file", value)
        assert state_file.read(tmp_path / "file", kind) == value
    assert os.listdir(tmp_path) == ["file"]
    assert state_file.read(tmp_path / "none", Snapshot) is None


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 400), st.integers(1, 255), st.booleans())
def test_no_damage_is_believed(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: int, cut: bool
) -> None:
    """One byte changed, or the rest gone: set aside, or (its space and end) the same value."""
    file = tmp_path_factory.getbasetemp() / "damaged.json"
    for kind, value in KINDS.items():
        state_file.write(file, value, durable=False)
        raw = bytearray(file.read_bytes())
        at %= len(raw)
        if cut:
            del raw[at:]
        else:
            raw[at] ^= by
        file.write_bytes(raw)
        said: list[str] = []
        found = state_file.take(file, kind, said.append)
        assert found in (None, value)
        assert (found is None) == bool(said)
        if said:
            assert "is damaged" in said[0]
            assert not file.exists()


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_no_bytes_end_a_reader(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(raw)
    for kind in (list[Order], Changes, Snapshot):
        state_file.peek(file, kind, lambda _: None)


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"content":' * 50_000, b'{"a":' * 50_000])
def test_what_is_nested_deeply_is_damaged(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "deep.json"
    for kind in (list[Order], Changes, Snapshot):
        file.write_bytes(raw)
        assert state_file.take(file, kind, lambda _: None) is None


def make(path: Path, kind: str) -> None:
    """Something at a path that is no regular file."""
    if kind == "directory":
        (path / "full").mkdir(parents=True)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path)


STRANGE = ["directory", "fifo", "socket", "zero", "loop"]


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_is_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    make(path, kind)
    with pytest.raises((IposError, OSError)) as caught:
        read_bounded(path)
    assert str(path) in str(caught.value)
    said: list[str] = []
    assert state_file.take(path, Snapshot, said.append) is None
    assert str(path) in said[0]


def test_a_file_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(11))
    assert read_bounded(path, 11) == bytes(11)
    with pytest.raises(FileError, match="longer than the 10 bytes"):
        read_bounded(path, 10)


def test_a_file_that_cannot_be_written_stays_as_it_was() -> None:
    """On a full file system, too, with nothing of the new one left on it."""
    full = Path("/dev/full")
    with pytest.raises(FileError, match="cannot write /dev/full/x"):
        write_whole(full / "x", b"x")


def test_reading_does_not_move_what_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"{")
    said: list[str] = []
    assert state_file.peek(file, Snapshot, said.append) is None
    assert "is damaged" in said[0]
    assert file.exists()


def test_a_file_of_an_earlier_version_is_believed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(msgspec.json.encode(Snapshot(farm="shop")))
    assert state_file.read(file, Snapshot) == Snapshot(farm="shop")
