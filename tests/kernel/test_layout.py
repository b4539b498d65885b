# SPDX-License-Identifier: Apache-2.0
"""The reader of the headers agrees with a C compiler about every byte, and misreads nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ipos.abi import layout
from scripts.abi import reader
from scripts.abi.__main__ import main

COMPILER = shutil.which("cc") or shutil.which("clang")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What C says: 'struct' -> size, 'struct.field' -> offset, 'CONSTANT' -> value.

    Structs whose name ends in 6 are those of the compilation for IPv6, unless C has that name.
    """
    if COMPILER is None:
        pytest.skip("no C compiler to compare with")
    place = tmp_path_factory.mktemp("layout")
    six = {name for name in layout.header().structs if name.endswith("6")} - {"ipos_header6"}
    four = _say(place / "say4.c", 4, set(layout.header().structs) - six)
    return _say(place / "say6.c", 6, six) | four


def _say(source: Path, family: int, structs: set[str]) -> dict[str, int]:
    header = layout.header()
    lines = []
    for shape in (header.structs[name] for name in sorted(structs)):
        tag = shape.name.removesuffix("6") if family == 6 else shape.name
        lines.append(f'say("{shape.name}", sizeof(struct {tag}));')
        for field in shape.fields:
            place = f"offsetof(struct {tag}, {field.name})"
            lines.append(f'say("{shape.name}.{field.name}", {place});')
    lines += [f'say("{name}", {name});' for name in header.constants]
    lines += [f'say("#{entry.name}", IPOS_COUNT_{entry.name});' for entry in header.counters]
    source.write_text(
        "#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        '#include "abi/ipos.h"\n'
        "enum {\n#define X(number, name, text) IPOS_COUNT_##name = number,\n"
        "IPOS_COUNTERS(X)\n#undef X\n"
        "#define X(number, name, text) "
        "IPOS_COUNT_AMBIGUOUS_##name = IPOS_COUNTERS_AMBIGUOUS + number,\n"
        "IPOS_AMBIGUITIES(X)\n#undef X\n};\n"
        'static void say(const char *what, unsigned long n) { printf("%s %lu\\n", what, n); }\n'
        "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    )
    program = source.with_suffix("")
    assert COMPILER is not None
    told = [f"-I{reader.HEADERS}", f"-DIPOS_FAMILY={family}"]
    command = [COMPILER, *told, "-o", str(program), str(source)]
    subprocess.run(command, check=True)
    said = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in (line.split() for line in said.splitlines())}


def test_sizes_and_offsets_are_the_compilers(compiled: dict[str, int]) -> None:
    for shape in layout.header().structs.values():
        assert compiled[shape.name] == shape.size, shape.name
        for field in shape.fields:
            assert compiled[f"{shape.name}.{field.name}"] == field.offset, (shape.name, field)


def test_constants_and_counters_are_the_compilers(compiled: dict[str, int]) -> None:
    header = layout.header()
    assert {name: compiled[name] for name in header.constants} == header.constants
    for entry in header.counters:
        assert compiled[f"#{entry.name}"] == entry.number


@pytest.mark.parametrize("shape", layout.header().structs.values(), ids=lambda shape: shape.name)
def test_no_struct_has_implicit_padding(shape: layout.Layout) -> None:
    end = 0
    for field in shape.fields:
        assert field.offset == end, f"a hole before {shape.name}.{field.name}"
        end = field.offset + field.size
    assert end == shape.size


@pytest.mark.parametrize(
    "name", ["header", "tcb", "connection", "trailer", "header6", "connection6", "trailer6"]
)
def test_wire_lengths_are_the_structs(name: str) -> None:
    assert layout.constant(f"IPOS_{name.upper()}_LEN") == layout.layout(f"ipos_{name}").size


def test_an_address_of_a_family_makes_two_structs_and_two_maps() -> None:
    read = reader.parse(
        "struct a {\n\tipos_ip ip;\n\t__be16 port;\n\t__u16 zero;\n} IPOS_ALIGNED;\n"
        "struct b {\n\t__u64 when;\n\tstruct a of;\n};\n"
    )
    sizes = {tag: (struct.size, struct.align) for tag, struct in read.structs.items()}
    assert sizes == {"a": (8, 4), "a6": (24, 8), "b": (16, 8), "b6": (32, 8)}


def test_counters_are_named_once_and_fit_the_map() -> None:
    counters = layout.header().counters
    assert len({entry.number for entry in counters}) == len(counters)
    assert len({entry.name for entry in counters}) == len(counters)
    assert all(entry.text for entry in counters)
    assert max(entry.number for entry in counters) < layout.constant("IPOS_COUNTERS_MAX")
    assert layout.counter("DROP_MALFORMED") == 0


def test_pack_and_unpack_are_inverse_and_name_strangers() -> None:
    shape = layout.layout("ipos_pool")
    candidate = {"server": 3, "port": 80, "weight": 7, "ramp": 9, "upto": 7}
    raw = shape.pack({"policy": 2, "count": 1, "candidates": [candidate]})
    assert len(raw) == shape.size
    assert shape.unpack(raw)["candidates"][0] == candidate
    with pytest.raises(ValueError, match="no field colour"):
        shape.pack({"colour": 1})
    with pytest.raises(ValueError, match="bytes, not"):
        shape.unpack(raw[:-1])


def test_network_fields_are_wire_bytes() -> None:
    shape = layout.layout("ipos_address_key")
    raw = shape.pack({"ip": 0xCB007101, "port": 80, "protocol": 6})
    assert raw == bytes.fromhex("cb007101 0050 06 00")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("struct s {\n\tint x;\n};", "struct s: unknown type 'int'"),
        ("struct s {\n\t__u8 x[LEN];\n};", "struct s: unknown array length 'LEN'"),
        ("struct s {\n\t__u8 x : 3;\n};", "struct s: cannot read 'x : 3'"),
        ("struct s {\n\tunion { __u8 a; };\n};", "struct s: "),
        ("struct s {\n\t__u8 a;\n\tint\n};", "struct s: cannot read 'int'"),
        ("enum e { A = 1 << 2 };", "enum e: 'A = 1 << 2' is no plain integer"),
    ],
)
def test_what_is_not_understood_is_named(text: str, message: str) -> None:
    with pytest.raises(reader.HeaderError) as raised:
        reader.parse(text)
    assert str(raised.value).startswith(message)


def test_comments_and_one_line_structs_are_read() -> None:
    read = reader.parse(
        "#define LEN 3U /* how many */\n"
        "struct a { __u16 x, y; };\n"
        "struct b {\t/* of two\n lines */\n\t__be32 ip; /* one */\n"
        "\tstruct a pairs[LEN];\n\t__u16 port;\n} __attribute__((packed));\n"
    )
    assert [member.offset for member in read.structs["b"].members] == [0, 4, 16]
    assert read.structs["b"].size == 18
    assert (read.structs["b"].members[0].code, read.structs["b"].members[0].remark) == (">I", "one")


def test_what_is_made_from_the_headers_is_up_to_date() -> None:
    assert main(["--check"]) == 0
