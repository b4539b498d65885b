# SPDX-License-Identifier: Apache-2.0
"""Lines of tables and keys in TOML of every style; what tomllib reads, the locator finds."""

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ipos.config.effective import as_toml
from ipos.config.locate import Path, line_of, lines

TEXT = '''\
# a comment with [brackets] and a = sign
top = 1
[one]            # another
"quoted key" = "a [string] = with # signs"
many = [
  "a = b",       # not a key
  [1, 2],
]
text = """
inside = 3
[not.a.table]
"""
raw = \'\'\'
[[nor.this]]\'\'\'
inline = { x = 1, y = { z = [ { w = 2 } ] }, v = 3 }
dotted.key = 1
[[two]]
a = 1
[two.sub]
b = 2
[[two]]
a = 2
[[two.deep]]
c = 1
[ three . four ]
d = 1
'''


def test_every_style_is_found() -> None:
    found = lines(TEXT)
    expected: dict[Path, int] = {
        (): 1,
        ("top",): 2,
        ("one",): 3,
        ("one", "quoted key"): 4,
        ("one", "many"): 5,
        ("one", "text"): 9,
        ("one", "raw"): 13,
        ("one", "inline"): 15,
        ("one", "inline", "x"): 15,
        ("one", "inline", "y"): 15,
        ("one", "inline", "y", "z"): 15,
        ("one", "inline", "v"): 15,
        ("one", "dotted"): 16,
        ("one", "dotted", "key"): 16,
        ("two",): 17,
        ("two", 0): 17,
        ("two", 0, "a"): 18,
        ("two", 0, "sub"): 19,
        ("two", 0, "sub", "b"): 20,
        ("two", 1): 21,
        ("two", 1, "a"): 22,
        ("two", 1, "deep"): 23,
        ("two", 1, "deep", 0): 23,
        ("two", 1, "deep", 0, "c"): 24,
        ("three", "four"): 25,
        ("three", "four", "d"): 26,
    }
    assert {path: found.get(path) for path in expected} == expected
    assert not any("inside" in path or "nor" in path or "not" in path for path in found)


def test_what_has_no_line_has_that_of_what_is_around_it() -> None:
    found = lines(TEXT)
    assert line_of(found, ("two", 1, "absent")) == 21
    assert line_of(found, ("nowhere",)) == 1


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from paths(item, (*path, key))
    elif isinstance(value, list) and len(path) == 1:
        for number, item in enumerate(value):
            yield from paths(item, (*path, number))


keys = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True)
scalars = st.booleans() | st.integers(-9, 9) | st.text(max_size=12)
values = st.recursive(scalars | st.lists(scalars, max_size=3), lambda v: st.dictionaries(keys, v))
tables = st.dictionaries(keys, values, max_size=3)
documents = st.dictionaries(keys, tables | st.lists(tables, min_size=1, max_size=3), max_size=3)


@settings(max_examples=40, deadline=None)
@given(documents)
def test_every_key_of_any_document_is_on_its_line(document: dict[str, Any]) -> None:
    text = as_toml(document)
    assert tomllib.loads(text) == document
    found = lines(text)
    written = text.split("\n")
    for path in paths(document):
        assert path in found, text
        assert str(path[-1]) in written[found[path] - 1]
