# SPDX-License-Identifier: Apache-2.0
"""The kernel takes the data plane as every clang of this machine compiles it, and not only as the
default one does: distributions build the package with theirs.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ipos.kernel import data_plane
from tests.support.plane import pin_place

pytestmark = [pytest.mark.farm, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def _compilers() -> list[str]:
    found = {each.name for each in Path("/usr/bin").glob("clang-*")}
    default = Path(shutil.which("clang") or "clang").resolve().name
    named = {name for name in found if re.fullmatch(r"clang-\d+", name)}
    return sorted(named - {f"clang-{n}" for n in re.findall(r"\d+", _version(default))[:1]})


def _version(clang: str) -> str:
    try:
        asked = [clang, "-dumpversion"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


@pytest.mark.parametrize("clang", _compilers() or [""])
def test_the_kernel_takes_what_it_compiles(clang: str, tmp_path: Path) -> None:
    if not clang:
        pytest.skip("there is no other clang on this machine")
    subprocess.run(
        ["make", "-s", "objects", f"CLANG={clang}", f"OBJECTS={tmp_path}",
         f"NATIVE={tmp_path}/libipos.so"], cwd=ROOT, check=True,
    )  # fmt: skip
    with pin_place() as place:
        data_plane.load(tmp_path, place)
