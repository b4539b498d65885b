# SPDX-License-Identifier: Apache-2.0
"""Whatever is at the path of a configuration or a secret, or in it, ends in a sentence."""

import os
import random
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipos.config import ConfigError, load, parse
from ipos.config.crosscheck import SECRET_MAX
from ipos.doctor.site import Site, read_site
from tests.config.mistakes_table import GOOD
from tests.config.test_state_file import STRANGE, make


def sentence(file: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load(file)
    return str(raised.value)


@pytest.mark.parametrize("kind", STRANGE)
def test_a_configuration_that_is_no_file(file: Path, kind: str) -> None:
    make(file, kind)
    assert sentence(file).startswith(f"{file}: cannot be read: ")
    assert read_site(file) == Site(file=str(file))


@pytest.mark.parametrize("kind", STRANGE)
def test_a_secret_that_is_no_file(file: Path, kind: str) -> None:
    file.write_text(GOOD)
    secret = file.with_name("farm.key")
    secret.unlink()
    make(secret, kind)
    assert f"farm.secret_file {secret}" in sentence(file)


def test_a_secret_of_any_bytes_has_a_bound(file: Path) -> None:
    file.write_text(GOOD)
    secret = file.with_name("farm.key")
    secret.write_bytes(bytes(range(256)))
    load(file)
    secret.write_bytes(b"x" * (SECRET_MAX + 1))
    assert f"longer than the {SECRET_MAX} bytes" in sentence(file)


@pytest.mark.parametrize(
    "line",
    [
        'secret_file = "farm\\u0000.key"',
        'secret_file = ""',
        f'secret_file = "{"x" * 5000}"',
        f"idle_s = {'9' * 5000}",
        f"idle_s = {'[' * 20_000}",
        "idle_s = nan",
        "idle_s = 2021-02-30",
        "idle_s = 1e999",
    ],
)
def test_a_line_that_makes_no_sense_is_named(file: Path, line: str) -> None:
    key = line.partition(" ")[0]
    lines = [line if one.startswith(f"{key} ") else one for one in GOOD.splitlines()]
    file.write_text("\n".join(lines))
    assert sentence(file).startswith(str(file))


@pytest.mark.parametrize("name", ["front", "back"])
def test_an_interface_has_no_control_characters(file: Path, name: str) -> None:
    text = "\n".join(
        f'{name} = "e\\u0000"' if one.startswith(f"{name} ") else one for one in GOOD.splitlines()
    )
    file.write_text(text)
    assert f"server.{name} is" in sentence(file)


VALUES = st.recursive(
    st.sampled_from(
        [
            *("0", "-1", "true", "nan", "inf", "-inf", "1e400", "9" * 30, "0.5"),
            *('""', '"\\u0000"', '"\\u007f"', "''", '"0.0.0.0"', '"255.255.255.255/0"'),
            *("2020-01-01", "2020-01-01T00:00:00Z"),
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]")
        | st.lists(inner, max_size=3).map(
            lambda found: "{ " + ", ".join(f"k{n} = {one}" for n, one in enumerate(found)) + " }"
        )
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_any_value_of_any_key_is_taken_or_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """And the commands that read the file leniently read it, too."""
    directory = tmp_path_factory.getbasetemp()
    secret = directory / "farm.key"
    if not secret.exists():
        secret.write_bytes(b"0123456789abcdef")
        secret.chmod(stat.S_IRUSR)
    lines = GOOD.splitlines()
    keys = [n for n, line in enumerate(lines) if " = " in line]
    number = data.draw(st.sampled_from(keys))
    lines[number] = f"{lines[number].partition(' = ')[0]} = {data.draw(VALUES)}"
    text = "\n".join(lines)
    with suppress(ConfigError):
        parse(text, directory / "ipos.toml")
    (directory / "any.toml").write_text(text)
    read_site(directory / "any.toml")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80), st.integers(0, len(GOOD)), st.integers(0, 2**32))
def test_any_bytes_are_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, seed: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "noise.toml"
    good = bytearray(GOOD.encode())
    good[at : at + random.Random(seed).randrange(9)] = noise
    for raw in (noise, bytes(good)):
        file.write_bytes(raw)
        with suppress(ConfigError):
            load(file)
        read_site(file)


def test_what_may_not_be_read_is_a_sentence(file: Path) -> None:
    file.write_text(GOOD)
    file.chmod(0)
    if os.geteuid():
        assert "Permission denied" in sentence(file)
