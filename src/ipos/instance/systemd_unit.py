# SPDX-License-Identifier: Apache-2.0
"""A unit of systemd, which is asked for through `systemctl`."""

import subprocess
from collections.abc import Mapping, Sequence

from ipos import hook
from ipos.errors import IposError

_TIMEOUT_S = 5.0
_ALIVE = ("active", "activating", "reloading", "refreshing", "deactivating")


class SystemdUnit:
    """`unit` is its name. Its methods may be called in any thread, one at a time."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    def start(self, command: Sequence[str], memory: int, added: Mapping[str, str]) -> None:
        """Have systemd start it; what it runs and may use is the unit's. IposError says why not."""
        failed = hook.run(["systemctl", "--no-block", "start", self._unit], {}, _TIMEOUT_S)
        if failed:
            raise IposError(failed)

    def is_alive(self) -> bool:
        return self._asked("ActiveState") in _ALIVE

    def ending(self) -> str:
        """How it has ended: a clause."""
        result = self._asked("Result")
        return f"its unit {self._unit} has ended" + (f" ({result})" if result else "")

    def end(self, *, at_once: bool) -> None:
        """Have systemd stop it, by what the unit says, or kill it."""
        words = ["kill", "--signal=KILL"] if at_once else ["--no-block", "stop"]
        hook.run(["systemctl", *words, self._unit], {}, _TIMEOUT_S)

    def memory(self) -> int:
        """Bytes, where systemd accounts for memory."""
        said = self._asked("MemoryCurrent")
        return int(said) if said.isdigit() and len(said) < 19 else 0

    def forget(self) -> None:
        """Nothing is left of it here."""

    def _asked(self, what: str) -> str:
        command = ["systemctl", "show", f"--property={what}", "--value", self._unit]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode(errors="replace").strip()


class TransientUnit(SystemdUnit):
    """A unit that systemd makes for a command: not in the sandbox that the agent's own unit is."""

    def start(self, command: Sequence[str], memory: int, added: Mapping[str, str]) -> None:
        """Have systemd run it, unless it does. memory: the most it may have; 0: any."""
        if self.is_alive():
            return
        hook.run(["systemctl", "reset-failed", self._unit], {}, _TIMEOUT_S)  # of the last time
        options = [f"--setenv={name}={value}" for name, value in added.items()]
        options += [f"--property=MemoryMax={memory}"] if memory else []
        run = ["systemd-run", "--quiet", f"--unit={self._unit}", *options, "--", *command]
        failed = hook.run(run, {}, _TIMEOUT_S)
        if failed:
            raise IposError(failed)

    def ending(self) -> str:
        """How it has ended: a clause."""
        status, result = self._asked("ExecMainStatus"), self._asked("Result")
        if result == "exit-code" and status.isdigit():
            return f"its command ended with status {status}"
        return "its command has ended" + (f" ({result})" if result not in ("", "success") else "")
