# SPDX-License-Identifier: Apache-2.0
"""Build hook: the wheel carries the compiled data plane, so its users need no compiler.

The Makefile is the one place that knows how the C is compiled; this only calls it. An editable
install compiles nothing: `make setup` has done that beside the sources.
"""

import shutil
import subprocess
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileDataPlane(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        missing = [tool for tool in ("make", "clang") if shutil.which(tool) is None]
        if missing:
            raise RuntimeError(
                f"building the ipos wheel compiles eBPF and needs {' and '.join(missing)}: "
                "apt-get install make clang llvm libbpf-dev libc6-dev"
            )
        subprocess.run(["make", "-s", "objects"], cwd=self.root, check=True)
        # The objects depend on the machine, not on the Python version.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
