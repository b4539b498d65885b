# SPDX-License-Identifier: Apache-2.0
"""The alert rules and the dashboard ask for metrics that there are, in a language Prometheus
speaks.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ipos.agent.view import metrics
from ipos.config.schema import Route
from scripts import grafana
from tests.agent.running import Running

ROOT = Path(__file__).parents[2] / "packaging"
RULES = ROOT / "prometheus" / "ipos.rules.yml"


def _names() -> set[str]:
    route = Route(service="web", host="www.example.org", path="/img/", servers=["s1"])
    running = Running(route=[route])
    running.snapshot = msgspec.structs.replace(running.snapshot, checks={"web": ""})
    text = metrics.text(running.view(), {"forward": 1000}).decode()
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


FIRES = """
rule_files: [{rules}]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: 'ipos_service_refusals_total{{instance="s1", service="web", answer="503"}}'
        values: "0+30x40"
      - series: 'ipos_service_refusals_total{{instance="s1", service="mail", answer="503"}}'
        values: "0+1x40"
      - series: 'ipos_service_decisions_total{{instance="s1", service="web", outcome="here"}}'
        values: "0+600x40"
      - series: 'ipos_service_decisions_total{{instance="s1", service="mail", outcome="here"}}'
        values: "0+600x40"
      - series: 'ipos_service_check_healthy{{instance="s2", service="web"}}'
        values: "0x40"
      - series: 'ipos_packets_total{{instance="s2", counter="drop_not_adopted"}}'
        values: "0+10x40"
      - series: 'ipos_packets_total{{instance="s1", counter="drop_not_adopted"}}'
        values: "7+0x40"
      - series: 'ipos_server_clock_offset_seconds{{instance="s1", server="s2"}}'
        values: "-1.5x40"
      - series: 'ipos_cookie_keys_ahead_seconds{{instance="s1"}}'
        values: "4000x40"
      - series: 'ipos_migration_duration_seconds_bucket{{service="web", le="0.001024"}}'
        values: "0+900x40"
      - series: 'ipos_migration_duration_seconds_bucket{{service="web", le="0.131072"}}'
        values: "0+900x40"
      - series: 'ipos_migration_duration_seconds_bucket{{service="web", le="0.262144"}}'
        values: "0+1000x40"
      - series: 'ipos_migration_duration_seconds_bucket{{service="web", le="+Inf"}}'
        values: "0+1000x40"
    promql_expr_test:
      - eval_time: 9m
        expr: ALERTS{{alertstate="firing"}}
        exp_samples:
"""
FIRED = (
    'alertname="IposRefusals", service="web", severity="warning"',
    'alertname="IposNotAdopted", instance="s2", severity="warning"',
    'alertname="IposCheckFails", instance="s2", service="web", severity="warning"',
    'alertname="IposClockApart", instance="s1", server="s2", severity="warning"',
    'alertname="IposKeysRunOut", instance="s1", severity="critical"',
    'alertname="IposMigrationsSlow", service="web", severity="warning"',
)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_fire_when_they_should_and_no_others(tmp_path: Path) -> None:
    """Of two services only the one with many refusals is named."""
    lines = [FIRES.format(rules=RULES)]
    for labels in FIRED:
        lines.append(f"          - labels: 'ALERTS{{alertstate=\"firing\", {labels}}}'")
        lines.append("            value: 1")
    file = tmp_path / "fires.yml"
    file.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


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
