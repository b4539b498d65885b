# SPDX-License-Identifier: Apache-2.0
"""`python -m bench [SUITE ...]`: run suites, print their ratios. Root; a quiet machine."""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.arms import Wires
from bench.load import busy_s, require_tools
from bench.suites import SUITES, Result, measure
from ipos.errors import IposError
from ipos.lab.plan import SWITCH_XDP, SWITCHES

_QUIET_S = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = [suite.name for suite in SUITES]
    parser.add_argument("suite", nargs="*", metavar="SUITE", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="short runs: a first idea")
    parser.add_argument("--seconds", type=int, help="of each run")
    parser.add_argument("--pairs", type=int, help="how many rounds")
    parser.add_argument("--no-haproxy", action="store_true", help="leave HAProxy out")
    parser.add_argument(
        "--switch",
        choices=SWITCHES,
        default=SWITCH_XDP,
        help="of the labs: xdp costs next to nothing, as hardware does; bridge is the kernel's",
    )
    parser.add_argument(
        "--congestion-control", metavar="NAME", help="of all hosts, instead of the labs' own"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    unknown = [name for name in options.suite if name not in names]
    if unknown:
        parser.error(f"no suite is called {unknown[0]!r}; there are {', '.join(names)}")
    if options.pairs is not None and options.pairs < 1:
        parser.error("--pairs must be at least 1")
    if os.geteuid() != 0:
        raise IposError("the benchmarks build labs, which takes root; run: sudo make bench")
    require_tools()
    # A benchmark that is stopped takes its labs down as one that is interrupted does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    busy = _busy_before()
    _say(f"the machine is {busy:.0%} busy before anything is started")
    wires = Wires(options.switch, options.congestion_control)
    results = []
    for suite in SUITES:
        if options.suite and suite.name not in options.suite:
            continue
        seconds = options.seconds or (suite.quick_seconds if options.quick else suite.seconds)
        pairs = options.pairs or (suite.quick_pairs if options.quick else suite.pairs)
        result = measure(suite, seconds, pairs, not options.no_haproxy, wires, _say)
        results.append(result)
        if not options.json:
            print(_text(result, seconds), flush=True)
    if options.json:
        print(json.dumps({"busy_before": busy, "suites": [_document(one) for one in results]}))
    return 0


def _busy_before() -> float:
    """Share of the machine, 0 to 1, that is at work without us: noise in what follows."""
    before = busy_s()
    time.sleep(_QUIET_S)
    return (busy_s() - before) / _QUIET_S / (os.cpu_count() or 1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _text(result: Result, seconds: float) -> str:
    suite = result.suite
    pairs = len(next(iter(result.runs.values())))
    lines = [f"{suite.name}: {pairs} rounds of {seconds:g} s; goal: {suite.goal}"]
    for name, runs in result.runs.items():
        value = median(suite.value(one) for one in runs)
        line = f"  {name:<8} {value:>9.4g} {suite.unit}"
        ratio = result.ratios.get(name)
        if ratio is not None:
            line += (
                f"   {ratio.median:.3f} of direct"
                f"   [{ratio.low:.3f}, {ratio.high:.3f}] at {ratio.confidence:.0%}"
            )
        errors = sum(one.errors for one in runs)
        lines.append(line + (f"   {errors} ERRORS" if errors else ""))
    return "\n".join(lines)


def _document(result: Result) -> dict[str, Any]:
    return {
        "suite": result.suite.name,
        "unit": result.suite.unit,
        "goal": result.suite.goal,
        "ratios": {name: asdict(ratio) for name, ratio in result.ratios.items()},
        "runs": {
            name: [asdict(one) | {"value": result.suite.value(one)} for one in runs]
            for name, runs in result.runs.items()
        },
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except IposError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
