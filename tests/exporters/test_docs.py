"""What docs/ says about metrics, alerts and the API is what the code says."""

from __future__ import annotations

import re

import pytest
import yaml

from spanledger.exporters.latest import FILTERS
from spanledger.exporters.metrics import BUDGETS, LEDGER, SCRAPE_SUCCESS, STATS
from spanledger.exporters.spend import BUCKETS, DIMENSIONS
from spanledger.exporters.sql_session import Limits


@pytest.fixture(scope="module")
def metrics(repository) -> str:
    return (repository / "docs/metrics.md").read_text(encoding="utf-8")


def test_every_metric_stands_in_the_table_as_it_is(metrics):
    """Name, type, labels and help; no more and no fewer."""
    families = (*LEDGER, *BUDGETS, SCRAPE_SUCCESS, *(stat.family for stat in STATS))
    expected = {
        (family.name, family.kind, ", ".join(f"`{label}`" for label in family.labels), family.help)
        for family in families
    }
    rows = re.findall(r"^\| `((?:llm|spanledger)_\w+)` \| (\w+) \| ([^|]*?) ?\| (.*) \|$", metrics, re.MULTILINE)
    assert set(rows) == expected
    assert len(rows) == len(expected)


def test_every_alert_stands_in_the_table(repository, metrics):
    groups = yaml.safe_load((repository / "deploy/prometheus/spanledger.rules.yml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert re.findall(r"^\| `((?:Llm|Spanledger)\w+)` \|", metrics, re.MULTILINE) == alerts


def test_every_reason_of_a_refusal_is_explained(metrics):
    from spanledger.collector.intake import _REASONS

    for _, word in (*_REASONS, (None, "unavailable")):
        assert f"`{word}`" in metrics


def test_every_dimension_and_filter_is_named(metrics):
    for name in (*DIMENSIONS, *BUCKETS, *FILTERS):
        assert f"`{name}`" in metrics


def test_the_limits_are_the_real_ones(repository):
    text = (repository / "docs/grafana.md").read_text(encoding="utf-8")
    limits = Limits()
    assert f"{limits.seconds} seconds and {limits.memory_bytes >> 30} GiB" in text
    assert f"{limits.result_bytes >> 20} MiB" in text


def test_files_that_are_named_exist(repository):
    for page in ("metrics.md", "grafana.md"):
        text = (repository / "docs" / page).read_text(encoding="utf-8")
        for path in re.findall(r"`((?:deploy|examples|exporters)/[\w./-]+)`", text):
            assert (repository / path).exists(), path
