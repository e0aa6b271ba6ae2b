"""Looks for what the installed SDKs lack that recording needs: ``python -m spanledger.instrumentation.examine``.

It imports every SDK that is installed, which takes seconds and changes the process: so it runs in one of its own.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _runtime
from spanledger.instrumentation._sdks import SDKS, Sdk

TESTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "openai": "3",
        "anthropic": "2",
        "google-genai": "3",
        "botocore": "1",
        "aiobotocore": "3",
        "groq": "1",
        "ollama": "0",
        "xai-sdk": "1",
        "litellm": "1",
        "cohere": "7",
        "mistralai": "3",
    }
)
"""The newest major version of each SDK that our tests run against."""


def examine(sdks: Iterable[str] = tuple(SDKS)) -> list[dict[str, Any]]:
    """Switch recording on, import those of the named SDKs that are installed, and tell how each fares.

    Returns:
        For each SDK that is installed: ``sdk``, ``version``, ``tested`` (its newest tested major version), ``is_newer``
        (than that), and ``problems`` (readable lines: what it lacks, or why it cannot be imported).
    """
    names = tuple(sdks)
    _runtime.instrument(names, environment={})
    try:
        return [_examined(SDKS[one.sdk], one.version) for one in _runtime.status() if one.sdk in names and one.version]
    finally:
        _runtime.uninstrument(names)


def _examined(sdk: Sdk, version: str) -> dict[str, Any]:
    before = set(_runtime.problems())
    failures: list[str] = []
    for module in (sdk.module, *sdk.also):
        try:
            import_module(module)
        except Exception as error:  # noqa: BLE001 - the boundary: an installed SDK may be broken in any way
            failures.append(f"{sdk.name} {version} cannot be imported: {type(error).__name__}: {error}")
        else:
            failures.clear()
            break
    found = [line for line in _runtime.problems() if line not in before]
    tested = TESTED.get(sdk.name, "")
    major = version.partition(".")[0]
    return {
        "sdk": sdk.name,
        "version": version,
        "tested": tested,
        "is_newer": major.isdigit() and tested.isdigit() and int(major) > int(tested),
        "problems": [*failures[:1], *found],
    }


def main() -> None:
    """Print the findings about the named SDKs, or all, as one line of JSON."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import waits for a download
    warnings.simplefilter("ignore")
    out, sys.stdout = sys.stdout, sys.stderr  # what SDKs print when they are imported
    found = examine(sys.argv[1:] or SDKS)
    print(json.dumps(found), file=out)


if __name__ == "__main__":
    main()
