# SPDX-License-Identifier: Apache-2.0
"""The suites, and the rounds of one."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.arms import arms
from bench.load import Downloads, Load, Requests, Run
from bench.statistics import Estimate, estimate

REFERENCE = "direct"


@dataclass(frozen=True, slots=True)
class Suite:
    """One comparison. value: the number of a run that is compared; goal: the project's aim."""

    name: str
    unit: str
    load: Load
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


SUITES = (
    Suite(
        "connections", "requests/s", Requests("/", 32, keep=False), _rate,
        "median at least 0.75", 10, 9, 2, 7,
    ),
    Suite(
        "keep-alive", "requests/s", Requests("/", 64, keep=True), _rate,
        "median at least 0.95", 10, 9, 2, 7,
    ),
    Suite(
        "download", "CPU s/GB", Downloads("/files/100000000", 10), _busy,
        "upper end at most 1.15", 20, 7, 4, 7,
    ),
)  # fmt: skip


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
    switch: str,
    say: Callable[[str], None],
) -> Result:
    """Bring the labs up and run all rounds. switch: of both labs; say: takes a line of progress."""
    with arms(with_proxy, switch) as found:
        runs: dict[str, list[Run]] = {arm.name: [] for arm in found}
        for number in range(pairs + 1):
            # Another one begins each time: no arm is always the one after the same other.
            for at in range(len(found)):
                arm = found[(number + at) % len(found)]
                arm.prepare()
                warm_up = number == 0
                one = suite.load.run(arm.lab, arm.address, 1 if warm_up else seconds)
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
