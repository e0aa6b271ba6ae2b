"""What is in the distribution, and what an instrumented application gets from it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PARTS = ("semconv", "instrumentation", "ledger", "collector", "reconciler", "exporters", "cli")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


def test_no_portion_hides_the_others(root: Path) -> None:
    """One stray ``spanledger/__init__.py`` makes its portion the only one that an editable install finds."""
    assert [str(path) for part in PARTS for path in (root / part / "spanledger").glob("__init__.py*")] == []


def test_wheel_holds_every_source_file(wheel: Path, root: Path) -> None:
    in_tree = {
        path.relative_to(root / part).as_posix()
        for part in PARTS
        for path in (root / part / "spanledger").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert in_wheel == in_tree
    assert {f"spanledger/{part}/py.typed" for part in PARTS} <= in_wheel
    assert any(name.endswith(".sql") for name in in_wheel)


def test_wheel_asks_little_of_an_application(wheel: Path) -> None:
    """The base install is what an instrumented application gets: no server side, no LLM SDK."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA")]
    required = [
        line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-Dist")
    ]
    base = {line.split("<")[0].split(">")[0] for line in required if "extra ==" not in line}
    assert base == {"opentelemetry-api", "wrapt", "genai-prices"}
    assert not [line for line in required if line.startswith(("openai", "anthropic"))]


def test_bare_install_captures_without_the_server_side(wheel: Path, tmp_path: Path) -> None:
    """A venv with the wheel and its base dependencies only: capture imports, the command says what to install."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-compile", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    probe = (
        "import sys, spanledger.instrumentation, spanledger.semconv\n"
        "from importlib.util import find_spec\n"
        "print([name for name in ('grpc', 'clickhouse_connect', 'numpy', 'typer', 'openai') if find_spec(name)])"
    )
    shown = subprocess.run([python, "-W", "error", "-c", probe], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"
    refused = subprocess.run([venv / "bin" / "spanledger", "serve"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr == "spanledger: typer is not installed: pip install 'spanledger[all]'\n"


def test_importing_capture_loads_no_sdk_and_no_server_side() -> None:
    """Even where everything is installed, an application pays only for what it uses."""
    probe = (
        "import sys, spanledger.instrumentation\n"
        "heavy = {'grpc', 'clickhouse_connect', 'numpy', 'pyarrow', 'typer', 'rich', 'openai', 'anthropic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-W", "error", "-c", probe], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


def test_python_versions_agree(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert sys.version_info >= (3, 11)
