"""The oldest versions that we promise are the ones that we test."""

from __future__ import annotations

import re
import tomllib
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
