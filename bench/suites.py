# SPDX-License-Identifier: Apache-2.0
"""The suites, and the rounds of one."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.arms import Wires, arms
from bench.load import Downloads, Load, Requests, Run
from bench.statistics import Estimate, estimate

REFERENCE = "direct"
_NO_GOAL = "none of its own"


@dataclass(frozen=True, slots=True)
class Suite:
    """One comparison. value: the number of a run that is compared; goal: the project's aim.

    migrated: one server answers all, and not the one that is asked; see bench.arms.
    """

    name: str
    unit: str
    load: Load
    migrated: bool
    value: Callable[[Run], float]
    goal: str
    seconds: int
    pairs: int
    quick_seconds: int
    quick_pairs: int


def _rate(each: Run) -> float:
    return each.rate


def _busy(each: Run) -> float:
    return each.busy_s_per_gb


_EACH, _KEPT = Requests("/", 32, keep=False), Requests("/", 64, keep=True)
_DOWNLOADS = Downloads("/files/100000000", 10)

SUITES = (
    Suite("connections", "requests/s", _EACH, False, _rate, "median at least 0.75", 5, 15, 2, 7),
    Suite("connections-migrated", "requests/s", _EACH, True, _rate, _NO_GOAL, 5, 15, 2, 7),
    Suite("keep-alive", "requests/s", _KEPT, False, _rate, "median at least 0.95", 5, 15, 2, 7),
    Suite("keep-alive-migrated", "requests/s", _KEPT, True, _rate, _NO_GOAL, 5, 15, 2, 7),
    Suite("download", "CPU s/GB", _DOWNLOADS, True, _busy, "upper end at most 1.15", 20, 12, 4, 7),
)


@dataclass(frozen=True, slots=True)
class Result:
    """A suite's runs by arm, and the ratio of each other arm to the direct one."""

    suite: Suite
    runs: dict[str, list[Run]]
    ratios: dict[str, Estimate]


def measure(
    suite: Suite,
    seconds: int,
    pairs: int,
    with_proxy: bool,
    wires: Wires,
    say: Callable[[str], None],
) -> Result:
    """Bring the labs up and run all rounds. wires: of both labs; say: takes a line of progress."""
    with arms(with_proxy, suite.migrated, wires) as found:
        runs: dict[str, list[Run]] = {arm.name: [] for arm in found}
        for number in range(pairs + 1):
            # Another one begins each time: no arm is always the one after the same other.
            for at in range(len(found)):
                arm = found[(number + at) % len(found)]
                arm.prepare()
                warm_up = number == 0
                one = suite.load.run(arm.lab, arm.addresses, 1 if warm_up else seconds)
                if not warm_up:
                    runs[arm.name].append(one)
            if number:
                shown = ", ".join(f"{name} {suite.value(a[-1]):.4g}" for name, a in runs.items())
                say(f"{suite.name} {number}/{pairs}: {shown} {suite.unit}")
    base = [suite.value(one) for one in runs[REFERENCE]]
    ratios = {
        name: estimate([suite.value(one) / under for one, under in zip(found, base, strict=True)])
        for name, found in runs.items()
        if name != REFERENCE
    }
    return Result(suite, runs, ratios)
