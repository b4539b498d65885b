# SPDX-License-Identifier: Apache-2.0
"""Writes every generated document; with --check, says which ones are not up to date."""

import sys

from scripts.docs import DIRECTORY, DOCUMENTS


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m scripts.docs [--check]", file=sys.stderr)
        return 2
    stale = []
    for name, make in DOCUMENTS.items():
        file, text = DIRECTORY / name, make()
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not arguments:
            file.write_text(text, encoding="utf-8")
    if stale:
        print(("stale: " if arguments else "written: ") + ", ".join(stale))
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
