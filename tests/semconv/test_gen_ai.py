"""The generated names are what the pinned sources say, and nobody edited them by hand."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from spanledger.semconv import gen_ai

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "semconv/spanledger/semconv/gen_ai.py"
CONSTANTS = {name: value for name, value in vars(gen_ai).items() if name.isupper() and isinstance(value, str)}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_gen_ai", ROOT / "scripts/generate_gen_ai.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_body_is_what_was_generated() -> None:
    text = SOURCE.read_text()
    body = text.partition("from typing import Final\n\n")[2]
    recorded = re.search(r"Body:\n\n    sha256 ([0-9a-f]{64})", text)
    assert recorded is not None
    assert hashlib.sha256(body.encode()).hexdigest() == recorded[1]


def test_the_header_records_the_pins(generator: ModuleType) -> None:
    header = SOURCE.read_text().partition("# ruff")[0]
    for pin in (generator.SEMCONV, generator.UTIL_GENAI):
        assert f"{pin.package} {pin.version}\n    sha256 {pin.sha256}" in header


def test_a_name_says_its_value(generator: ModuleType) -> None:
    for name, value in CONSTANTS.items():
        if "_VALUE_" not in name:
            assert name == generator.constant_name(value)


@pytest.mark.parametrize(
    "value",
    [
        "gen_ai.provider.name",
        "gen_ai.system",
        "gen_ai.request.model",
        "gen_ai.response.id",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.audio.input_tokens",
        "gen_ai.usage.image.cache_read.input_tokens",
        "gen_ai.client.inference.operation.details",
        "gen_ai.client.token.usage",
        "openai.response.service_tier",
        "aws.bedrock.guardrail.id",
    ],
)
def test_names_that_the_ledger_reads_are_there(value: str) -> None:
    assert value in CONSTANTS.values()


def wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_generation_reads_published_names_newer_names_and_values(generator: ModuleType, tmp_path: Path) -> None:
    published = wheel(
        tmp_path / "a.whl",
        {
            "opentelemetry/semconv/_incubating/attributes/gen_ai_attributes.py": (
                'GEN_AI_SYSTEM: Final = "gen_ai.system"\n"""\nDeprecated: Replaced by `gen_ai.provider.name`.\n"""\n'
                'class GenAiOperationNameValues(Enum):\n    CHAT = "chat"\n'
            ),
            "opentelemetry/semconv/_incubating/metrics/gen_ai_metrics.py": (
                'GEN_AI_CLIENT_TOKEN_USAGE: Final = "gen_ai.client.token.usage"\n'
            ),
        },
    )
    code = wheel(
        tmp_path / "b.whl",
        {
            "opentelemetry/util/genai/handler.py": (
                '"""Prose about gen_ai.system and more."""\n'
                'span.set("gen_ai.usage.cache_write.input_tokens", 1)\nPREFIX = "gen_ai.prompt.variable."\n'
                'old = "gen_ai.system"\n'
            )
        },
    )
    text = generator.render(generator.collect(published, code))
    assert '# deprecated: gen_ai.provider.name\nGEN_AI_SYSTEM: Final[str] = "gen_ai.system"' in text
    assert 'GEN_AI_CLIENT_TOKEN_USAGE: Final[str] = "gen_ai.client.token.usage"' in text
    assert 'GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: Final[str] = "gen_ai.usage.cache_write.input_tokens"' in text
    assert 'GEN_AI_PROMPT_VARIABLE_PREFIX: Final[str] = "gen_ai.prompt.variable."' in text
    assert 'GEN_AI_OPERATION_NAME_VALUE_CHAT: Final[str] = "chat"' in text
    assert text.count('"gen_ai.system"') == 1


def test_another_wheel_than_the_pinned_one_is_refused(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / generator.SEMCONV.wheel).write_bytes(b"not the pinned one")
    assert generator.main(["--check", "--wheels", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "opentelemetry-semantic-conventions 0.66b2" in error
    assert generator.SEMCONV.sha256 in error


def test_a_missing_wheel_is_named(generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--wheels", str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err
