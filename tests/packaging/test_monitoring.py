# SPDX-License-Identifier: Apache-2.0
"""The alert rules and the dashboard ask for metrics that there are, in a language Prometheus
speaks.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ipos.agent.view import metrics
from scripts import grafana
from tests.agent.running import Running

ROOT = Path(__file__).parents[2] / "packaging"
RULES = ROOT / "prometheus" / "ipos.rules.yml"


def _names() -> set[str]:
    text = metrics.text(Running().view(), {"forward": 1000}).decode()
    return {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    }


def _expressions() -> list[str]:
    rules = re.findall(r"^ +expr: (.*)$", RULES.read_text(), re.MULTILINE)
    panels = [expression for *_, targets in grafana.PANELS for expression, _ in targets]
    assert len(rules) == RULES.read_text().count("- alert:") > 5
    return rules + panels


def test_every_metric_that_is_asked_for_exists() -> None:
    known = _names()
    asked = {name for text in _expressions() for name in re.findall(r"\bipos_[a-z_]+", text)}
    assert asked <= known, asked - known
    reasons = set(re.findall(r'reason="(\w+)"', RULES.read_text()))
    counters = set(re.findall(r'counter="(\w+)"', RULES.read_text()))
    text = metrics.text(Running().view(), {}).decode()
    assert all(f'"{each}"' in text for each in reasons | counters)


def test_the_dashboard_is_what_its_table_says() -> None:
    assert json.loads(grafana.FILE.read_text()) == grafana.dashboard(), "python -m scripts.grafana"
    places = [tuple(panel["gridPos"].values()) for panel in grafana.dashboard()["panels"]]
    assert len(set(places)) == len(places)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_rules_and_expressions(tmp_path: Path) -> None:
    panels = tmp_path / "panels.yml"
    lines = ["groups:", "- name: panels", "  rules:"]
    for number, expression in enumerate(_expressions()):
        said = json.dumps(expression.replace("$__rate_interval", "1m"))
        lines += [f"  - record: panel:{number}", f"    expr: {said}"]
    panels.write_text("\n".join(lines) + "\n")
    for file in (RULES, panels):
        done = subprocess.run(
            ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
