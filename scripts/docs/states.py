# SPDX-License-Identifier: Apache-2.0
"""docs/states.md: from the transition table of `spec.handshake.unattached`."""

import inspect
import re

from scripts.docs.markdown import code, fenced, page, section, table
from spec.handshake import unattached
from spec.requests import endpoint

_INTRODUCTION = """
The server side of a connection whose handshake is done and which no application has yet. The
table is `spec.handshake.unattached.TABLE`; which event a segment is, `spec.requests.endpoint` says.
Both are the readable statement of what `bpf` does.
"""


def document() -> str:
    states = ((code(state.name), state.value) for state in unattached.State)
    return page(
        "States of an unattached endpoint",
        _INTRODUCTION,
        (
            section("Diagram", fenced("mermaid", unattached.as_mermaid())),
            section("States", table(("State", "Meaning"), states)),
            section("Rules", fenced("text", _rules(unattached))),
            section(
                "Which event a segment is",
                "The first rule that applies says it.",
                fenced("text", _rules(endpoint)),
            ),
            section("Transitions", unattached.as_markdown()),
        ),
    )


def _rules(module: object) -> str:
    """The numbered rules of a module's docstring and what follows them."""
    text = inspect.getdoc(module) or ""
    found = re.search(r"^1\. ", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"the docstring of {module} has no numbered rules")
    return text[found.start() :]
