# SPDX-License-Identifier: Apache-2.0
"""A mistake in a configuration file: a sentence with its place."""

from dataclasses import dataclass
from pathlib import Path

from ipos.errors import IposError


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One sentence and the line it is about; line 0: the file as a whole."""

    line: int
    text: str


class ConfigError(IposError):
    """A file that cannot be used: all its mistakes, one line each, by line."""

    def __init__(self, file: Path, mistakes: list[Mistake]) -> None:
        self.file = file
        self.mistakes = sorted(mistakes)
        super().__init__(
            "\n".join(
                f"{file}:{mistake.line}: {mistake.text}"
                if mistake.line
                else f"{file}: {mistake.text}"
                for mistake in self.mistakes
            )
        )
