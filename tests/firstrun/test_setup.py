# SPDX-License-Identifier: Apache-2.0
"""`ipos setup` writes a configuration that is right, and nothing where it cannot."""

import subprocess
import sys
from pathlib import Path

import pytest

from ipos.config import load
from ipos.errors import IposError
from ipos.firstrun import first_config
from ipos.firstrun.machine import interfaces
from tests.support.typist import typed

OPTIONS = ("--farm", "shop", "--server", "s1", "--front", "lo", "--back", "lo", "--yes")
ADDRESS = ("--address", "203.0.113.1")


def setup(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    files = ("--config", f"{directory}/etc/ipos.toml", "--key", f"{directory}/etc/farm.key")
    return subprocess.run(
        [sys.executable, "-m", "ipos", "setup", *files, *OPTIONS, *options],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_first_server_gets_a_key_and_a_file_that_is_right(tmp_path: Path) -> None:
    services = ("--service", "web:80", "--service", "api:8080=127.0.0.1:9000")
    done = setup(tmp_path, *ADDRESS, "--new-farm", *services)
    assert "written:" in done.stdout, done.stderr
    assert "copy " in done.stdout
    assert "ipos doctor says:" in done.stdout
    config = load(tmp_path / "etc/ipos.toml")
    assert (config.farm.name, config.server.name, config.farm.discover) == ("shop", "s1", True)
    assert [(one.name, one.port) for one in config.service] == [("web", 80), ("api", 8080)]
    assert str(config.service[1].listener.ip) == "127.0.0.1"
    assert (tmp_path / "etc/farm.key").stat().st_mode & 0o777 == 0o600


def test_another_server_takes_the_key_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    key = tmp_path / "etc/farm.key"
    key.write_text("the key of this farm is of 32 bytes or more\n")
    key.chmod(0o600)
    members = ("--member", "10.77.0.1,10.77.0.2")
    done = setup(tmp_path, *ADDRESS, *members)
    assert "written:" in done.stdout, done.stderr
    assert key.read_text().startswith("the key of this farm")
    assert [str(one) for one in load(tmp_path / "etc/ipos.toml").farm.members] == [
        "10.77.0.1",
        "10.77.0.2",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ADDRESS, "Every server of a farm has the same one"),
        (("--new-farm",), "--address is missing"),
        (("--new-farm", "--address", "example.org"), "is no IPv4 address"),
        (("--new-farm", *ADDRESS, "--service", "web"), "is no service"),
        (("--new-farm", *ADDRESS, "--back", "nosuch0"), "no interface nosuch0 here; there are lo"),
        (("--new-farm", *ADDRESS, "--service", "web:80", "--service", "web:81"), "ipos.toml:"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_nothing_is_written(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = setup(tmp_path, *options)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    setup(tmp_path, *ADDRESS, "--new-farm")
    before = (tmp_path / "etc/ipos.toml").read_text()
    again = setup(tmp_path, "--address", "203.0.113.2")
    assert "exists already" in again.stderr
    assert (tmp_path / "etc/ipos.toml").read_text() == before


def test_a_new_farm_does_not_replace_a_key(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/farm.key").write_text("another farm's key, which servers have\n")
    assert "leave --new-farm out" in setup(tmp_path, *ADDRESS, "--new-farm").stderr


def test_front_has_the_default_route_and_back_a_private_address() -> None:
    links = [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
        {"ifname": "eth0", "addr_info": [{"local": "8.8.8.8"}]},
        {"ifname": "eth1", "addr_info": [{"local": "10.77.0.1"}]},
    ]
    assert interfaces([{"dev": "eth0"}], links) == ("eth0", "eth1")
    assert interfaces([{"dev": "eth0"}], links[:2]) == ("eth0", "eth0")
    assert interfaces([], []) == ("", "")


@pytest.mark.parametrize(
    "text", ["", "web", ":80", "web:", "web:0", "web:65536", "a b:80", "web:80=x"]
)
def test_what_is_no_service(text: str) -> None:
    with pytest.raises(IposError, match="is no service"):
        first_config.service(text)


def test_what_is_asked_is_answered_at_a_terminal(tmp_path: Path) -> None:
    """An empty answer is what the machine suggests; an interface is chosen from those there are."""
    options = ("--config", f"{tmp_path}/ipos.toml", "--key", f"{tmp_path}/farm.key")
    asked = (
        ("Interface towards clients (", "lo"), ("Interface of the farm's own LAN", "lo"),
        ("Name of the farm", "shop"), ("Name of this server", "s7"),
        ("Service addresses of this server", "203.0.113.7, 203.0.113.8"),
        ("Back addresses of all servers", ""), ("Services, as web:80", ""),
        ("Is this the first server of a new farm?", "y"), ("Go on?", ""),
    )  # fmt: skip
    _, said = typed((sys.executable, "-m", "ipos", "setup", *options), asked)
    assert f"written: {tmp_path}/ipos.toml" in said
    config = load(tmp_path / "ipos.toml")
    assert (config.server.name, config.farm.discover) == ("s7", True)
    assert [str(one) for one in config.server.addresses] == ["203.0.113.7", "203.0.113.8"]
    assert [(one.name, one.port) for one in config.service] == [("web", 80)]


def test_nothing_is_written_for_who_says_no(tmp_path: Path) -> None:
    files = ("--config", f"{tmp_path}/ipos.toml", "--key", f"{tmp_path}/farm.key")
    options = (*OPTIONS[:-1], *ADDRESS, "--new-farm", "--service", "web:80")
    asked = (("Back addresses of all servers", ""), ("Go on?", "n"))
    status, said = typed((sys.executable, "-m", "ipos", "setup", *files, *options), asked)
    assert (status, "nothing was written" in said) == (1, True)
    assert list(tmp_path.iterdir()) == []
