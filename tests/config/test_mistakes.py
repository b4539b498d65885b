# SPDX-License-Identifier: Apache-2.0
"""Every field of the configuration with a wrong value, and the exact sentence a user reads."""

from pathlib import Path

import pytest
from msgspec import Struct

from ipos.config import ConfigError, Listener, load, parse
from ipos.config import schema as schema_module
from ipos.config.schema import Config
from tests.config import (
    family_mistakes,
    mistakes_table,
    session_mistakes,
    spawn_mistakes,
    start_mistakes,
    uplink_mistakes,
)
from tests.config.mistakes_table import GOOD

FIELDS = [
    *mistakes_table.FIELDS, *start_mistakes.FIELDS, *uplink_mistakes.UPLINK_FIELDS,
    *spawn_mistakes.SPAWN_FIELDS,
]  # fmt: skip
OTHERS = [
    *mistakes_table.OTHERS, *session_mistakes.OTHERS, *start_mistakes.OTHERS,
    *spawn_mistakes.OTHERS, *family_mistakes.OTHERS,
]  # fmt: skip


def mistakes(text: str, file: Path) -> list[tuple[int, str]]:
    with pytest.raises(ConfigError) as raised:
        parse(text, file)
    return [(mistake.line, mistake.text) for mistake in raised.value.mistakes]


def test_the_good_file_is_good(file: Path) -> None:
    config = parse(GOOD, file)
    assert config.service[0].listener == Listener.parse("127.0.0.1:8080")
    assert str(config.service[1].listener) == "0.0.0.0:25"
    assert config.farm.limits.forward == 1_000_000


@pytest.mark.parametrize(
    ("before", "after", "line", "sentence"),
    [case[1:] for case in FIELDS + OTHERS],
    ids=[case[0] for case in FIELDS + OTHERS],
)
def test_a_wrong_value_is_named(
    file: Path, before: str, after: str, line: int, sentence: str
) -> None:
    assert before in GOOD
    text = GOOD.replace(before, after, 1)
    if "authenticate = false" in after:
        text = text.replace('back = "eth1"', 'back = "eth0"')
    assert (line, sentence) in mistakes(text, file)


def test_every_field_of_the_schema_is_here() -> None:
    wanted = {
        f"{name}.{field}"
        for name, kind in vars(schema_module).items()
        if isinstance(kind, type) and issubclass(kind, Struct)
        for field in kind.__struct_fields__
    }
    assert wanted == {case[0] for case in FIELDS}
    assert "Config.farm" in wanted
    assert Config.__struct_fields__


def test_all_mistakes_are_told_at_once_by_line(file: Path) -> None:
    text = GOOD.replace("port = 80", "port = 0").replace('"shop"', '"?"').replace("25", '"x"')
    assert [line for line, _ in mistakes(text, file)] == [2, 20, 26]
    with pytest.raises(ConfigError) as raised:
        parse(text, file)
    assert str(raised.value).splitlines()[0].startswith(f"{file}:2: farm.name is")


def test_a_file_without_tables_names_both(file: Path) -> None:
    assert mistakes("", file) == [
        (1, "the file has no [farm] table; add one"),
        (1, "the file has no [server] table; add one"),
    ]


def test_secrets_are_looked_at(file: Path) -> None:
    secret = file.parent / "farm.key"
    secret.chmod(0o640)
    assert mistakes(GOOD, file) == [
        (3, f"farm.secret_file {secret} is open to others than its owner; `chmod 600 {secret}`")
    ]
    secret.chmod(0o600)
    secret.write_text("short\n")
    assert mistakes(GOOD, file) == [
        (3, f"farm.secret_file {secret} holds 5 bytes; it must hold at least 16")
    ]
    secret.unlink()
    assert mistakes(GOOD, file) == [
        (
            3,
            (
                f"farm.secret_file {secret} cannot be read: No such file or directory; make one "
                f"with `head -c 32 /dev/urandom | base64 > {secret}` and copy it to every server"
            ),
        )
    ]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ipos\.toml: there is no such file; `ipos setup`"):
        load(tmp_path / "ipos.toml")
    (tmp_path / "ipos.toml").write_bytes(b'[farm]\nname = "\xff"\n')
    with pytest.raises(ConfigError, match=r"ipos\.toml:2: is not UTF-8"):
        load(tmp_path / "ipos.toml")


def test_one_server_more_than_a_farm_has_is_refused_with_the_number(file: Path) -> None:
    def said(count: int) -> str:
        listed = ", ".join(f'"10.77.{n // 250}.{n % 250 + 1}"' for n in range(count))
        return GOOD.replace('["10.77.0.1", "10.77.0.2"]', f"[{listed}]")

    parse(said(1000), file)
    assert mistakes(said(1001), file)[0][1].endswith("1001 servers; a farm has at most 1000")


@pytest.mark.parametrize(
    ("port", "check", "said"),
    [
        (
            443,
            '{ http = "/health" }',
            (
                'service "web" has check.http on port 443, where applications speak TLS; say '
                'check = { https = "/health", host = "www.example.org" }'
            ),
        ),
        (
            80,
            '{ http = "/a", https = "/b" }',
            'service "web" has both check.http and check.https; say one of them',
        ),
        (
            80,
            '{ host = "a.example" }',
            'service "web" has check.host and asks for nothing; say https too',
        ),
        (
            80,
            '{ https = "/", status = "399-200" }',
            'service "web" has check.status = "399-200"; the first must not be the larger',
        ),
        (
            443,
            '{ https = "/", verify = true }',
            (
                'service "web" has check.verify = true, which needs check.https, and in check.host '
                "the name that its certificate is for"
            ),
        ),
    ],
)
def test_a_check_that_could_never_succeed_is_a_mistake(
    file: Path, port: int, check: str, said: str
) -> None:
    text = GOOD.replace('{ http = "/health", interval_ms = 500, rise = 2, fall = 3 }', check)
    text = text.replace("port = 80\n", f"port = {port}\n")
    assert [text for _, text in mistakes(text, file)] == [said]


def test_a_check_of_what_speaks_tls(file: Path) -> None:
    check = '{ https = "/health", host = "www.example.org", status = "200-299" }'
    text = GOOD.replace('{ http = "/health", interval_ms = 500, rise = 2, fall = 3 }', check)
    found = parse(text.replace("port = 80\n", "port = 443\n"), file).service[0].check
    assert found is not None
    assert (found.path, found.statuses) == ("/health", range(200, 300))
