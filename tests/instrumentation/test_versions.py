"""The oldest versions that we promise are the ones that we test."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from spanledger.instrumentation._sdks import SDKS

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
OLDEST = dict(
    re.fullmatch(r"([a-z-]+)==(\S+)", pin).groups() for pin in PROJECT["dependency-groups"]["oldest"] if "==" in pin
)  # type: ignore[union-attr]


# What cannot stand beside the other SDKs has an environment of its own.
OLDEST |= dict(
    re.fullmatch(r"([a-z-]+)>=([^,]+),.*", bound).groups()  # type: ignore[union-attr]
    for bound in PROJECT["dependency-groups"]["litellm"]
    if bound.startswith("litellm")
)


@pytest.mark.parametrize("sdk", SDKS.values(), ids=list(SDKS))
def test_sdks(sdk: Any) -> None:
    assert sdk.requires == f"{sdk.name} >= {OLDEST[sdk.name]}"


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_dependencies(requirement: str) -> None:
    found = re.match(r"([a-z-]+)>=([^,]+)", requirement)
    assert found
    name, bound = found.groups()
    oldest = OLDEST[name]
    assert oldest == bound or oldest == f"{bound}.0"


def test_every_sdk_has_an_entry_point() -> None:
    pytest.importorskip("opentelemetry.instrumentation")
    points: dict[str, str] = PROJECT["project"]["entry-points"]["opentelemetry_instrumentor"]
    found = {name: EntryPoint(name, target, "opentelemetry_instrumentor").load().sdk for name, target in points.items()}
    assert found == {f"spanledger_{name.replace('-', '_')}": name for name in SDKS}


@pytest.mark.parametrize("sdk", SDKS.values(), ids=list(SDKS))
def test_every_sdk_has_a_patcher(sdk: Any) -> None:
    home, _, name = sdk.patcher.partition(":")
    assert callable(getattr(import_module(home), name).patch)
