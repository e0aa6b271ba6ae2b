"""Switches instrumentation on and off for this process. The one place that holds process-wide state, because what it
does (patching classes) is process-wide."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from time import perf_counter_ns
from typing import Any, Final

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from spanledger.instrumentation import _settings
from spanledger.instrumentation._finisher import Finisher
from spanledger.instrumentation._patching import Patches, Wrapper, when_imported
from spanledger.instrumentation._prices import LazyPrices, Prices
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._sdks import SDKS, Sdk

# Whose flush and shutdown must find our spans and measurements written.
_PROVIDERS: Final = (("opentelemetry.sdk.trace", "TracerProvider"), ("opentelemetry.sdk.metrics", "MeterProvider"))
_FLUSHING: Final = ("force_flush", "shutdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkStatus:
    """How one SDK stands: ``instrumented``, ``waiting`` (for its import), ``not installed`` or ``off``."""

    sdk: str
    requires: str
    version: str
    state: str


class _Runtime:
    """What is switched on. All changes happen under its lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.finisher: Finisher | None = None
        self.prices: Prices | None = None
        self.problems = Problems()
        self.recorders: dict[str, Recorder] = {}
        self.patches: dict[str, dict[str, Patches]] = {}  # by SDK and module
        self.providers: Patches | None = None
        self.complaints: tuple[str, ...] = ()
        self.hooked: set[str] = set()
        self.sees_forks = False


_runtime: Final = _Runtime()


def instrument(
    sdks: Iterable[str] = tuple(SDKS),
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    environment: Mapping[str, str] | None = None,
    prices: Prices | None = None,
    raise_errors: bool = False,
) -> None:
    """Record the calls of the named SDKs, those that are imported now and those that will be. Idempotent per SDK.

    Args:
        sdks: names of distributions, as `status` lists them; all by default. An SDK that is not installed is skipped.
        tracer_provider: where spans go; OpenTelemetry's global provider by default, also one that is set later.
        meter_provider: where metrics go; the global one by default.
        environment: settings; ``os.environ`` by default.
        prices: a price book; the one that comes with Spanledger by default.
        raise_errors: let errors of the instrumentation reach the application: for our own tests.

    Raises:
        ValueError: a name that is no SDK we know.
    """
    names = list(sdks)
    unknown = sorted(set(names) - set(SDKS))
    if unknown:
        raise ValueError(f"cannot instrument {', '.join(unknown)}: known are {', '.join(SDKS)}")
    with _runtime.lock:
        if not _runtime.sees_forks and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forked)
            _runtime.sees_forks = True
        if not _runtime.recorders:
            _runtime.problems = Problems(raise_errors=raise_errors)
        settings = _settings.from_environment(os.environ if environment is None else environment)
        _runtime.complaints = settings.complaints
        if settings.deferred and _runtime.finisher is None:
            _runtime.finisher = Finisher()
            atexit.register(flush)
        if settings.deferred and _runtime.providers is None:
            _flush_with_providers()
        if _runtime.prices is None:
            _runtime.prices = LazyPrices()
        version = metadata.version("spanledger")
        for name in names:
            if name in _runtime.recorders:
                continue
            _runtime.recorders[name] = Recorder(
                settings=settings,
                version=version,
                problems=_runtime.problems,
                prices=prices or _runtime.prices,
                defer=_runtime.finisher.put if settings.deferred and _runtime.finisher else None,
                tracer_provider=tracer_provider,
                meter_provider=meter_provider,
            )
            for module in (SDKS[name].module, *SDKS[name].also):
                _when_imported(module, partial(_patch, SDKS[name], module))


def uninstrument(sdks: Iterable[str] = tuple(SDKS)) -> None:
    """Take the patches off again, and complete what is outstanding. SDKs that are not instrumented are passed over."""
    with _runtime.lock:
        for name in sdks:
            _runtime.recorders.pop(name, None)
            for patches in _runtime.patches.pop(name, {}).values():
                patches.restore()
        if _runtime.recorders or _runtime.finisher is None:
            return
        flush()
        if _runtime.providers is not None:
            _runtime.providers.restore()
        # What completes calls stays: streams that are open end later, and are recorded then.
        _runtime.providers = None


def flush() -> None:
    """Complete the spans of all calls that have ended; they are with the tracer provider's processors then.

    ``force_flush()`` and ``shutdown()`` of OpenTelemetry's SDK providers do this by themselves.
    """
    finisher = _runtime.finisher
    if finisher is not None:
        finisher.flush()


def problems() -> list[str]:
    """What went wrong with the instrumentation in this process, one readable line each; empty when all is well."""
    return [*_runtime.complaints, *_runtime.problems.lines()]


def status() -> list[SdkStatus]:
    """How each known SDK stands in this process."""
    return [
        SdkStatus(sdk=sdk.name, requires=sdk.requires, version=_version(sdk.name), state=_state(sdk.name))
        for sdk in SDKS.values()
    ]


def _forked() -> None:
    """Runs in a child: what it inherited of open calls is the parent's to complete."""
    now = perf_counter_ns()
    for recorder in _runtime.recorders.values():
        recorder.forked_ns = now


def _state(name: str) -> str:
    if name in _runtime.patches:
        return "instrumented"
    if not _version(name):
        return "not installed"
    return "waiting" if name in _runtime.recorders else "off"


def _version(name: str) -> str:
    module = sys.modules.get(SDKS[name].module)
    if module is not None and isinstance(found := getattr(module, "__version__", None), str):
        return found
    try:
        # the top package alone: looking for a module inside one imports it
        return metadata.version(name) if find_spec(SDKS[name].module.partition(".")[0]) else ""
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def _patch(sdk: Sdk, name: str, module: Any) -> None:
    with _runtime.lock:
        recorder = _runtime.recorders.get(sdk.name)
        if recorder is None or name in _runtime.patches.get(sdk.name, ()):
            return
        try:
            with _runtime.problems.gathering():
                patches = sdk.patch(module, recorder, _runtime.problems)
            _runtime.patches.setdefault(sdk.name, {})[name] = patches
        except Exception as error:  # noqa: BLE001 - the boundary: this runs inside the application's import statement
            _runtime.problems.ours(f"patching {sdk.name}", error)


def _when_imported(name: str, hook: Callable[[Any], None]) -> None:
    """Run the hook on a module now or when it is imported; hooks cannot be removed, so one per module and process."""
    module = sys.modules.get(name)
    if module is not None:
        hook(module)
    elif name not in _runtime.hooked:
        _runtime.hooked.add(name)
        when_imported(hook, name)


def _flush_with_providers() -> None:
    _runtime.providers = patches = Patches()

    def flushing(wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if patches.is_active:
            flush()
        return wrapped(*args, **kwargs)

    for module_name, class_name in _PROVIDERS:
        _when_imported(module_name, partial(_wrap_provider, class_name, flushing))


def _wrap_provider(class_name: str, wrapper: Wrapper, module: Any) -> None:
    provider = getattr(module, class_name, None)
    for method in _FLUSHING:
        if _runtime.providers is not None and provider is not None and method in vars(provider):
            _runtime.providers.wrap(provider, method, wrapper)
