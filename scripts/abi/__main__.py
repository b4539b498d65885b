# SPDX-License-Identifier: Apache-2.0
"""Writes what is made from the headers; with --check, says which files are not up to date."""

import sys
from pathlib import Path

from scripts.abi import reader, writer

DIRECTORY = Path(__file__).resolve().parents[2] / "src" / "ipos" / "abi"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m scripts.abi [--check]", file=sys.stderr)
        return 2
    headers = reader.read()
    made = {"header_data.py": writer.header_data(headers), "rows.py": writer.rows(headers)}
    stale = []
    for name, text in made.items():
        file = DIRECTORY / name
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not arguments:
            file.write_text(text, encoding="utf-8")
    if stale:
        told = "not what bpf/abi says, run make abi" if arguments else "written"
        print(f"{told}: {', '.join(stale)}")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
