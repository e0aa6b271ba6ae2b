"""Fixtures that every part's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanledger.cli.demo.provider import FakeProvider

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def fake_provider() -> Iterator[FakeProvider]:
    """A fresh fake provider with empty books."""
    with FakeProvider(seed=1) as provider:
        yield provider


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True)
def no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own configuration and keys never reach a test."""
    for name in list(os.environ):
        if name.startswith(("SPANLEDGER_", "OTEL_", "OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
