"""The example configurations say what the code does."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanledger.semconv.dialects.registry import DIALECTS


@pytest.fixture
def config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "otel-collector.yaml").read_text())


def test_every_component_of_the_collector_is_defined_and_used(config: dict[str, Any]) -> None:
    """A name in a pipeline that is nowhere defined, or the other way round, does not start."""
    pipelines = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert set(config[kind]) == {name for pipeline in pipelines for name in pipeline[kind]}
    assert set(config["extensions"]) == set(config["service"]["extensions"])
    exporter = config["exporters"]["otlp/spanledger"]
    assert exporter["sending_queue"]["storage"] in config["extensions"]
    for pipeline in pipelines:
        assert pipeline["processors"][0] == "memory_limiter"


def test_nothing_is_given_up(config: dict[str, Any]) -> None:
    """Endless retries, a queue on disk that makes senders wait, a packing that our gRPC listener speaks."""
    exporter = config["exporters"]["otlp/spanledger"]
    assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"
    assert exporter["sending_queue"]["block_on_overflow"] is True
    assert exporter["compression"] in ("gzip", "none")


def test_the_filter_keeps_what_any_dialect_reads(config: dict[str, Any]) -> None:
    """Each attribute that gives a dialect away, and those of the conventions, keep a span."""
    [condition] = config["processors"]["filter/model_calls"]["traces"]["span"]
    tested = set(re.findall(r'attributes\["([^"]+)"\] == nil', condition))
    assert condition.count("==") == len(tested)
    assert " or " not in condition
    wanted = {marker for dialect in DIALECTS for marker in dialect.markers}
    wanted |= {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model"}
    by_name = {marker for marker in wanted if marker.startswith("llm.")}  # LiteLLM's raw spans, kept by their name
    assert wanted - by_name <= tested
    [pattern] = re.findall(r'not IsMatch\(name, "([^"]+)"\)', condition)
    assert all(re.match(pattern, name) for name in ("raw_gen_ai_request", "litellm_request", "claude_code.tool"))
    assert not re.match(pattern, "GET /")


def test_the_example_settings_are_options_of_serve(root: Path) -> None:
    """Each key stands in the command's documentation."""
    settings = tomllib.loads((root / "deploy/examples/spanledger.toml").read_text())
    documented = (root / "docs/commands.md").read_text()
    section = documented[documented.index("## spanledger serve") :].split("\n## ")[0]
    for key in ("data", *settings["serve"]):
        assert f"`--{key.replace('_', '-')}`" in section
    assert set(settings) == {"data", "serve"}


def test_the_unit_gives_a_stop_the_time_it_may_take(root: Path) -> None:
    """systemd must not kill a drain that is within its own deadline, nor restart on a configuration mistake."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(root / "deploy/systemd/spanledger.service")
    service = unit["Service"]
    settings = tomllib.loads((root / "deploy/examples/spanledger.toml").read_text())
    assert int(service["TimeoutStopSec"]) > int(settings["serve"]["stop_within"].removesuffix("s"))
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].endswith("/spanledger serve")
