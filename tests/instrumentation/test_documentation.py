"""What ``docs/instrument.md`` promises exists, and what exists is promised."""

from __future__ import annotations

import re
from pathlib import Path

from spanledger import instrumentation
from spanledger.instrumentation import _settings
from spanledger.instrumentation._sdks import SDKS

PAGE = (Path(__file__).parents[2] / "docs" / "instrument.md").read_text()


def test_every_sdk_and_its_oldest_version() -> None:
    for sdk in SDKS.values():
        name, bound = sdk.requires.split(" >= ")
        assert f"| `{name}` | {bound} and later |" in PAGE


def test_every_setting() -> None:
    named = {value for name, value in vars(_settings).items() if name.isupper() and isinstance(value, str)}
    for variable in [*named, *_settings.STANDARD_LABELS]:
        assert f"`{variable}`" in PAGE


def test_every_public_name() -> None:
    for name in instrumentation.__all__:
        assert re.search(rf"\b{name}\b", PAGE), name


def test_the_python_examples_are_valid() -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert examples
    for example in examples:
        compile(example, "docs/instrument.md", "exec")
