"""The committed dashboards are what the generator writes, and hang together."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from spanledger.exporters.grafana.__main__ import main
from spanledger.exporters.grafana.files import files
from spanledger.exporters.metrics import BUDGETS, LEDGER, SCRAPE_SUCCESS, STATS

METRICS = {family.name for family in (*LEDGER, *BUDGETS, SCRAPE_SUCCESS, *(stat.family for stat in STATS))}


@pytest.fixture
def deploy(repository) -> Path:
    return repository / "deploy" / "grafana"


def dashboards() -> list[dict]:
    return [json.loads(text) for text in files().values()]


def test_committed_files_are_generated(deploy):
    """Run `python -m spanledger.exporters.grafana deploy/grafana/dashboards` after every change."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in (deploy / "dashboards").glob("*.json")}
    assert committed == files()


def test_the_command_writes_them(tmp_path, capsys):
    assert main([str(tmp_path)]) == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files()
    assert main([str(tmp_path / "missing")]) == 2
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])
class TestDashboard:
    def test_panels_have_a_place_of_their_own(self, dashboard):
        """Unique ids; no two panels overlap; none sticks out of the grid."""
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        for panel in panels:
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for one, other in combinations([panel["gridPos"] for panel in panels], 2):
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            assert apart

    def test_every_panel_says_what_it_shows(self, dashboard):
        for panel in dashboard["panels"]:
            assert panel["title"]
            if panel["type"] != "row":
                assert panel["description"].endswith(".")
                assert panel["targets"]

    def test_every_query_uses_our_metrics(self, dashboard):
        """A renamed metric breaks the build, not the dashboard."""
        used = set()
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                names = set(re.findall(r"\b(?:llm|spanledger)_\w+", target["expr"]))
                assert names
                assert names <= METRICS
                used |= names
        assert {"llm_cost_usd_total", "llm_tokens_total", "llm_requests_total", "llm_cost_usd_rolling_24h"} <= used

    def test_the_data_source_can_be_chosen(self, dashboard):
        assert "spanledger-prometheus" not in json.dumps(dashboard)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        names = [variable["name"] for variable in dashboard["templating"]["list"]]
        assert names == ["datasource", "org_id", "provider", "model"]


def test_provisioning(deploy):
    """Valid YAML in Grafana's shape."""
    sources = yaml.safe_load((deploy / "provisioning/datasources/prometheus.yml").read_text())
    assert sources["datasources"][0]["type"] == "prometheus"
    providers = yaml.safe_load((deploy / "provisioning/dashboards/spanledger.yml").read_text())
    assert providers["providers"][0]["options"]["path"]
