"""What holds for every SDK that is installed: patched methods look as before, and switching off leaves no trace."""

from __future__ import annotations

import inspect
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from spanledger import instrumentation
from spanledger.instrumentation._sdks import SDKS
from spanledger.instrumentation.examine import TESTED

pytestmark = pytest.mark.filterwarnings("ignore")  # what SDKs warn of when they are imported
Place = tuple[str, str]


def import_all() -> set[str]:
    """Import every installed SDK; the names of those that are."""
    found: set[str] = set()
    for sdk in SDKS.values():
        for module in (sdk.module, *sdk.also):
            try:
                import_module(module)
            except ModuleNotFoundError:
                continue
            found.add(sdk.name)
    return found


def attributes() -> Iterator[tuple[Place, Any]]:
    """Everything that modules and classes of the SDKs hold, by where it is."""
    packages = {sdk.module.partition(".")[0] for sdk in SDKS.values()} - {"google"} | {
        "mistralai_azure",
        "mistralai_gcp",
    }
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] not in packages and not name.startswith("google.genai"):
            continue
        if ".types" in name or ".models" in name:  # thousands of classes without a method of their own
            continue
        for attribute, value in list(vars(module).items()):
            yield (name, attribute), value
            # not `isclass`: it asks proxies what they stand for, and they import that or make a client
            if issubclass(type(value), type) and value.__module__ == name:
                for inner, held in list(vars(value).items()):
                    yield (f"{name}.{attribute}", inner), held


def look(value: Any) -> tuple[Any, ...]:
    """What a caller, an IDE or a decorator can see of a function."""
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction, callable)
    try:
        signature: Any = inspect.signature(value)
    except (TypeError, ValueError):
        signature = None
    return (
        signature,
        getattr(value, "__name__", None),
        getattr(value, "__qualname__", None),
        getattr(value, "__doc__", None),
        *(kind(value) for kind in kinds),
    )


def test_patches_cannot_be_seen_and_leave_no_trace() -> None:
    installed = import_all()
    assert {"openai", "anthropic"} <= installed
    before = dict(attributes())
    instrumentation.instrument(environment={}, raise_errors=True)
    try:
        assert instrumentation.problems() == []
        states = {one.sdk: one.state for one in instrumentation.status()}
        assert {name for name, state in states.items() if state == "instrumented"} == installed
        during = dict(attributes())
    finally:
        instrumentation.uninstrument()
    after = dict(attributes())
    changed = {place for place, value in during.items() if place not in before or before[place] is not value}
    assert len(changed) >= 2 * len(installed)
    for place in (place for place in changed & before.keys() if inspect.isroutine(before[place])):
        assert look(during[place]) == look(before[place]), place
    assert [place for place, value in after.items() if before.get(place) is not value] == []
    assert before.keys() <= after.keys()


def test_every_sdk_has_an_instrumentor_of_its_own() -> None:
    instrumentors = pytest.importorskip("spanledger.instrumentation.instrumentors")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    named = project["entry-points"]["opentelemetry_instrumentor"]
    found = {name: getattr(instrumentors, place.partition(":")[2]).sdk for name, place in named.items()}
    assert set(found.values()) == set(SDKS) == set(TESTED)
    assert all(name == f"spanledger_{sdk.replace('-', '_')}" for name, sdk in found.items())
