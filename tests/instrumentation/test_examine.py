"""What `spanledger doctor` hears of the installed SDKs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from spanledger.instrumentation._sdks import SDKS
from spanledger.instrumentation.examine import TESTED

OPENAI = """
__version__ = "99.1.0"
class OpenAI:
    def request(self): ...
    def _process_response(self): ...
class Stream: ...
class AsyncStream: ...
"""


def test_an_sdk_that_changed_and_one_that_is_broken(tmp_path: Path) -> None:
    """Another major version of one, a broken installation of the other; both stand where the real ones would."""
    for name, version, code in (("openai", "99.1.0", OPENAI), ("anthropic", "2.0.0", "raise OSError('no such disk')")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        (tmp_path / f"{name}-{version}.dist-info").mkdir()
        metadata_file = tmp_path / f"{name}-{version}.dist-info" / "METADATA"
        metadata_file.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    command = [sys.executable, "-m", "spanledger.instrumentation.examine", "openai", "anthropic"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    openai, anthropic = json.loads(ran.stdout)
    assert (openai["sdk"], openai["version"], openai["is_newer"]) == ("openai", "99.1.0", True)
    assert openai["problems"] == ["openai 99.1.0 has no openai.AsyncOpenAI: calls through it are not recorded"]
    assert anthropic["problems"] == ["anthropic 2.0.0 cannot be imported: OSError: no such disk"]
    assert anthropic["is_newer"] is False


@pytest.mark.parametrize("sdk", SDKS)
def test_the_newest_tested_version_is_the_one_here(sdk: str) -> None:
    """In the environment of the oldest SDKs, at most."""
    assert TESTED[sdk].isdigit()
    try:
        installed = metadata.version(sdk)
    except metadata.PackageNotFoundError:
        return  # its tests have an environment of their own
    assert int(installed.partition(".")[0]) <= int(TESTED[sdk])
