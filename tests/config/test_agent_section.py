# SPDX-License-Identifier: Apache-2.0
"""`[agent]`: a port that others reach has a token, and what is wrong is said."""

from pathlib import Path

import pytest

from ipos.config.agent_section import Agent, mistakes, read_token

TOKEN = "a-token-of-sixteen-or-more"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "web.token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("section", "place"),
    [
        (Agent(), None),
        (Agent(web="127.0.0.1:9100"), ("127.0.0.1", 9100)),
        (Agent(web="[::1]:9100"), ("::1", 9100)),
        (Agent(web="0.0.0.0:9100", web_token_file=Path("web.token")), ("0.0.0.0", 9100)),
    ],
)
def test_what_is_right(token: Path, section: Agent, place: tuple[str, int] | None) -> None:
    assert mistakes(section, token.parent) == []
    assert section.place == place


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        (Agent(web="0.0.0.0:9100"), "web", "needs a token"),
        (Agent(announce_file=Path("bird.conf")), "announce_file", 'must begin with "/"'),
        (Agent(web="[::]:9100"), "web", "needs a token"),
        (Agent(web="999.0.0.1:9100"), "web", "no IP address"),
        (Agent(web="127.0.0.1:0"), "web", "no port"),
        (Agent(web="127.0.0.1:99999"), "web", "no port"),
        (Agent(web_token_file=Path("web.token")), "web_token_file", "there is none"),
        (Agent(web="127.0.0.1:1", web_key=Path("k")), "web_certificate", "go together"),
        (Agent(web="127.0.0.1:1", web_token_file=Path("gone")), "web_token_file", "gone"),
    ],
)
def test_what_is_wrong(token: Path, section: Agent, key: str, said: str) -> None:
    found = mistakes(section, token.parent)
    assert [(name, said in text) for name, text in found] == [(key, True)]


@pytest.mark.parametrize(
    "text", ["", "short", "with a space in the middle", "x" * 300, "\x00" * 20]
)
def test_what_is_no_token(token: Path, text: str) -> None:
    token.write_text(text)
    section = Agent(web="127.0.0.1:9100", web_token_file=Path("web.token"))
    assert [key for key, _ in mistakes(section, token.parent)] == ["web_token_file"]


def test_a_token_that_others_can_read(token: Path) -> None:
    section = Agent(web="127.0.0.1:9100", web_token_file=token)
    assert read_token(section, Path("/")) == TOKEN.encode()
    token.chmod(0o644)
    assert "chmod 600" in mistakes(section, token.parent)[0][1]
