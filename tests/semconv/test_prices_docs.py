"""The page about prices says what the code does: its file loads, its program prints what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from spanledger.semconv.prices import reasons
from spanledger.semconv.prices.overrides_file import load_overrides

PAGE = (Path(__file__).resolve().parents[2] / "docs/prices.md").read_text()


def fenced(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_overrides_on_the_page_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(fenced("toml"))
    overrides = load_overrides(path)
    assert len(overrides.discounts) == 1
    assert len(overrides.rates) == 2
    assert len(overrides.aliases) == 3
    assert len(overrides.commitments) == 1


def test_the_program_on_the_page_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text("")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(fenced("python"), "docs/prices.md", "exec"), {})
    shown, actual = fenced("text").splitlines(), printed.getvalue().splitlines()
    assert actual[:-1] == shown[:-1]
    assert actual[-1].startswith("rates: openai/gpt-4o-mini, genai-prices ")


def test_every_reason_is_explained_on_the_page() -> None:
    words = {value for name, value in vars(reasons).items() if name.isupper()}
    assert words
    assert {word for word in words if f"`{word}`" not in PAGE} == set()
