# SPDX-License-Identifier: Apache-2.0
"""What is generated says what the code says now, and misses nothing of it."""

import re

import pytest

from ipos.abi.layout import header
from ipos.config import schema
from ipos.tables import TABLES
from scripts.abi.reader import HEADERS
from scripts.docs import DIRECTORY, DOCUMENTS
from scripts.docs.header import entries_of, enumerators, maps


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_generated_document_is_up_to_date(name: str) -> None:
    file = DIRECTORY / name
    assert file.read_text(encoding="utf-8") == DOCUMENTS[name](), (
        f"docs/{name} is not what the code says: run make docs and commit it"
    )


def test_every_pinned_map_is_listed_with_its_writer() -> None:
    text = (HEADERS / "lib" / "maps.h").read_text()
    found = re.findall(r"^IPOS_(FAMILY_)?(?:MAP|MAP_FLAGS|QUEUE|RING)\((\w+)", text, re.MULTILINE)
    declared = {name for _, name in found} | {f"{name}6" for family, name in found if family}
    working_space = {"scratch", "scratch6", "flow_work"}
    assert {each.name for each in maps()} == declared - working_space
    assert all(each.entries > 0 for each in maps())


@pytest.mark.parametrize(
    ("written", "entries"),
    [("4096", 4096), ("IPOS_SHARES", 32768), ("2 * IPOS_SHARES + 1", 65537), ("2 * (3 + 4)", 14)],
)
def test_a_map_has_as_many_entries_as_is_written(written: str, entries: int) -> None:
    assert entries_of("hold_used", written) == entries


@pytest.mark.parametrize("written", ["", "NOBODY_KNOWS", "1 << 16", "4 *", "sizeof(int)"])
def test_entries_that_cannot_be_told_are_named_with_their_map(written: str) -> None:
    with pytest.raises(LookupError, match=r"maps\.h: cannot tell how many entries hold_used has"):
        entries_of("hold_used", written)


def test_every_counter_column_and_key_is_there() -> None:
    counters = (DIRECTORY / "counters.md").read_text()
    assert [each.name for each in header().counters if each.text not in counters] == []
    tables = (DIRECTORY / "tables.md").read_text()
    for kind in TABLES.values():
        assert [name for name in kind.columns() if f"| `{name}` |" not in tables] == []
    keys = (DIRECTORY / "configuration.md").read_text()
    for struct in (schema.Farm, schema.Server, schema.Service, schema.Pool, schema.Route):
        assert [
            name for name in struct.__struct_encode_fields__ if f"| `{name}` |" not in keys
        ] == []


def test_every_refusal_but_none_is_explained() -> None:
    named = set(header().enums["ipos_refusal"])
    assert set(enumerators("ipos_refusal")) == named - {"IPOS_REFUSE_NONE"}
