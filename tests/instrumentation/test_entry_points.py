"""How the instrumentation is found: by ``opentelemetry-instrument``, or by a call, before or after the SDK's import."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import entry_points

import pytest


def run(script: str) -> str:
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_an_sdk_that_is_imported_later() -> None:
    script = (
        "from spanledger.instrumentation import *; instrument(); import anthropic;"
        "print({one.sdk: one.state for one in status()})"
    )
    found = ast.literal_eval(run(script).strip())
    assert (found["openai"], found["anthropic"]) == ("waiting", "instrumented")


def test_an_sdk_that_is_not_imported_yet_is_not_imported_by_us() -> None:
    script = (
        "import sys; from spanledger.instrumentation import *; instrument();"
        "print({one.state for one in status()} <= {'waiting', 'not installed'},"
        " {'openai', 'google.genai', 'botocore', 'genai_prices'} & set(sys.modules))"
    )
    assert run(script).strip() == "True set()"


def test_what_an_application_loads_is_small() -> None:
    """No OpenTelemetry SDK, no instrumentation base class, no server side."""
    script = (
        "import sys, wrapt; before = set(sys.modules); import spanledger.instrumentation as i; i.instrument();"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before if '.' not in m or 'opentelemetry' in m}))"
    )
    loaded = run(script)
    for name in ("grpc", "pydantic", "genai_prices", "clickhouse_connect", "httpx", "asyncio"):
        assert f"'{name}'" not in loaded
    script = (
        "import sys; import spanledger.instrumentation as i; i.instrument();"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.instrumentation'))])"
    )
    assert run(script).strip() == "[]"


def test_opentelemetry_instrument_finds_us() -> None:
    pytest.importorskip("opentelemetry.instrumentation")
    pytest.importorskip("anthropic")
    found = {point.name: point.load() for point in entry_points(group="opentelemetry_instrumentor")}
    assert found["spanledger_openai"].__name__ == "OpenAIInstrumentor"
    assert found["spanledger_google_genai"].__name__ == "GoogleGenAIInstrumentor"
    assert found["spanledger_botocore"].__name__ == "BotocoreInstrumentor"
    instrumentor = found["spanledger_anthropic"]()
    assert instrumentor.instrumentation_dependencies() == ("anthropic >= 0.49.0",)
    instrumentor.instrument()
    try:
        from spanledger.instrumentation import status

        states = {one.sdk: one.state for one in status()}
        assert states["anthropic"] == "instrumented"
        assert states["openai"] != "instrumented"
    finally:
        instrumentor.uninstrument()
