# SPDX-License-Identifier: Apache-2.0
"""Runs the test suite: python -m scripts.suite [PYTEST_ARGS].

Two files at a time: a farm test mostly waits, and the tests of a file share a lab. Tests that need
the CPUs for themselves (`alone`) come after them, one by one.

Farm tests are at the mercy of the machine: a frame is lost, a CPU is away for a second. The file of
one that fails is run once more, with its lab made anew and nothing beside it: a test may go on from
what those before it have done. When the file passes then, the suite passes and ends with the name
of the test and `unsteady`, so that nobody overlooks it. Tests without a
farm have no such excuse, and neither have farm tests of many files at once.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = (
    ("not slow and not alone", ("-n", "2", "--dist", "loadfile")),
    ("alone and not slow", ()),
)
FILES_AGAIN = 3
"""So many files of one step are run once more, and no more."""
_NONE_SELECTED = 5  # pytest's status: a -k may do that to one step
PASSED_THEN = "failed, and passed when its file was run once more"


def main(arguments: list[str]) -> int:
    failed, unsteady = False, []
    for marks, how in STEPS:
        status, found = _pytest(["-m", marks, *how, *arguments])
        if status in (0, _NONE_SELECTED):
            continue
        files = {one.partition("::")[0] for one in found}
        if status == 1 and 0 < len(files) <= FILES_AGAIN and all(found.values()):
            print(f"once more, nothing beside it: {' '.join(sorted(files))}", flush=True)
            status, still = _pytest(["-m", marks, "-n0", *sorted(files)])
            unsteady += [one for one in found if one not in still]
            if status == 0:
                continue
        failed = True
    for one in unsteady:
        print(f"unsteady: {one} {PASSED_THEN}")
    return int(failed)


def _pytest(arguments: list[str]) -> tuple[int, dict[str, bool]]:
    """pytest's status, and the tests that failed, each with whether it needs a farm."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "failed.json"
        command = [sys.executable, "-m", "pytest", "--tell-failed", str(told), *arguments]
        status = subprocess.run(command, check=False).returncode
        return status, json.loads(told.read_text()) if told.exists() else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
