# SPDX-License-Identifier: Apache-2.0
"""Loads the programs of IPv6 when the farm turns out to have an address of it.

An agent whose own configuration has one loads them when it starts. Another one hears of the first
IPv6 address in a state, while its data plane runs. Loading takes a second, so a thread does it.
"""

from collections.abc import Callable

from ipos.agent.loop.tasks import Tasks
from ipos.errors import IposError

AGAIN_NS = 10_000_000_000
"""After a failure: who repairs what is in the way has not done so in a second."""


class SixPrograms:
    """load: loads and attaches the programs; IposError or OSError when it cannot."""

    def __init__(self, load: Callable[[], None], tasks: Tasks, now_ns: Callable[[], int]) -> None:
        self._load = load
        self._tasks = tasks
        self._now_ns = now_ns
        self._is_loading = False
        self._failure = ""
        self._retry_ns = 0

    def why_not(self) -> str:
        """Why they are not loaded yet, as the end of a sentence. Begins to load them if need be."""
        if not self._is_loading and self._now_ns() >= self._retry_ns:
            self._is_loading = True
            self._tasks.in_thread(self._attempt, self._loaded)
        return self._failure or "its programs are being loaded"

    def _attempt(self) -> str:
        try:
            self._load()
        except (IposError, OSError) as error:
            return str(error)
        return ""

    def _loaded(self, failure: str) -> None:
        self._is_loading, self._failure = False, failure
        self._retry_ns = self._now_ns() + AGAIN_NS if failure else 0
