"""What doctor makes of an examination of the installed SDKs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from spanledger.cli import doctor


def findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> list[tuple[str, str, str]]:
    """Findings where the examining process runs a script of its own."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return [(finding.level, finding.what, finding.mend) for finding in doctor._examined()]


def test_what_sdks_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fine: dict[str, Any] = {"version": "1.0.0", "tested": "1", "is_newer": False, "problems": []}
    examined = [
        {"sdk": "groq", **fine},
        {"sdk": "openai", **fine, "version": "9.0.0", "tested": "3", "is_newer": True},
        {"sdk": "cohere", **fine, "tested": "7", "problems": ["cohere 1.0.0 has no Client: calls are not recorded"]},
    ]
    assert findings(monkeypatch, tmp_path, f"echo '{json.dumps(examined)}'") == [
        (
            "warn",
            "openai 9.0.0 is newer than what was tested (3), and looks alike",
            "pip install -U spanledger, or stay with openai 3",
        ),
        (
            "warn",
            "cohere 1.0.0 has no Client: calls are not recorded",
            "pip install -U spanledger, or stay with cohere 7",
        ),
    ]


@pytest.mark.parametrize("script", ["exit 3", "echo no JSON"])
def test_an_examination_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    ((level, what, mend),) = findings(monkeypatch, tmp_path, script)
    assert level == "warn"
    assert what.startswith("the SDKs could not be examined")
    assert mend.endswith("python -m spanledger.instrumentation.examine")
