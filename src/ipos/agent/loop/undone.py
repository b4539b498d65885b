# SPDX-License-Identifier: Apache-2.0
"""What the agent should have done and could not do yet, with the reason for each."""


class Undone:
    """One sentence for each concern, such as `routes`. The agent tries all of them again."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def note(self, concern: str, reason: str) -> None:
        """Say why this is not done; an empty reason says that it is done now."""
        if reason:
            self._reasons[concern] = reason
        else:
            self._reasons.pop(concern, None)

    def reason(self, concern: str) -> str:
        """Why this is not done; empty when it is."""
        return self._reasons.get(concern, "")

    def reasons(self) -> list[str]:
        return list(self._reasons.values())
