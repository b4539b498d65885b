# SPDX-License-Identifier: Apache-2.0
"""The wheel, as a user has it who has no compiler."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
_USES = """\
import ipos
from ipos.abi.layout import constant, layout
from ipos.kernel.build import digest
from pathlib import Path
here = Path(ipos.__file__).parent
print(here.parent)
print(layout("ipos_endpoint").size, constant("IPOS_ABI"))
print(digest(here / "objects").hex())
"""


def test_a_wheel_has_the_compiled_data_plane(tmp_path: Path) -> None:
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("ipos-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as contents:
        contents.extractall(installed)
    # Nothing of the sources, and no compiler to be found.
    environment = {"PYTHONPATH": str(installed), "PATH": str(tmp_path)}
    told = [
        subprocess.run(
            [sys.executable, "-c", _USES], env=env, cwd=tmp_path, check=True, text=True,
            stdout=subprocess.PIPE,
        ).stdout.split("\n", 1)
        for env in (environment, {"PATH": str(tmp_path)})
    ]  # fmt: skip
    assert told[0][0] == str(installed)
    assert told[1][0] == str(ROOT / "src")
    assert told[0][1] == told[1][1], "the same programs, read by the same header"
