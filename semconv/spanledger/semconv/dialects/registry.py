"""Which dialect reads which record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from spanledger.semconv import names
from spanledger.semconv.dialects import (
    coding_agents,
    conventions,
    frameworks,
    langfuse,
    langsmith,
    litellm,
    logfire,
    mlflow,
    native,
    official,
    openinference,
    openlit,
    openllmetry,
    own,
    reader,
    tabular,
    values,
    vercel,
)
from spanledger.semconv.dialects.plans import Compiler, Plan, flattened
from spanledger.semconv.dialects.table import Dialect
from spanledger.semconv.dialects.tabular import Reading
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import Attributes, LogEntry, Source, SpanRecord, SpanTable

DIALECTS: Final[tuple[Dialect, ...]] = (
    own.DIALECT,
    official.GENAI,
    official.BEDROCK,
    native.ANTHROPIC,
    native.MISTRAL,
    native.XAI,
    openllmetry.OPENLLMETRY,
    openllmetry.ANTHROPIC,
    openllmetry.BEDROCK,
    openllmetry.JS_ANTHROPIC,
    openinference.DIALECT,
    openinference.FRAMEWORKS,
    openinference.LITELLM,
    openlit.DIALECT,
    logfire.DIALECT,
    frameworks.PYDANTIC_AI,
    frameworks.FRAMEWORKS,
    langfuse.DIALECT,
    langsmith.DIALECT,
    mlflow.DIALECT,
    litellm.DIALECT,
    vercel.DIALECT,
    coding_agents.CLAUDE_CODE,
    coding_agents.CODEX,
    coding_agents.GEMINI_CLI,
    coding_agents.QWEN_CODE,
    coding_agents.COPILOT,
    conventions.DIALECT,
)
"""Every dialect, one line each. The last one reads what no other claims."""

INFERENCE_DETAILS: Final = "gen_ai.client.inference.operation.details"
"""The conventions' log event: repeats a model call's span, under the emitter's own dialect."""

_USAGE: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
)
"""By these an event of a span, or a log record under a name of its own, is known to carry a model call's usage."""
_MAX_SOURCES: Final = 16
"""Records come source by source; a source may hold megabytes of attributes."""
_MAX_SCOPES: Final = 1024
_MAX_SHAPES: Final = 8192
_MAX_SHAPE: Final = 256

_RESOURCE_FIELDS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("service_name", ("service.name",)),
    ("environment", ("deployment.environment.name", "deployment.environment", "env")),
    ("team_id", (names.TEAM_ID, "team.id", "team_id", "team")),
    ("feature", (names.FEATURE, "feature", "feature.name")),
    ("session_id", (names.SESSION_ID,)),
    ("user_id", (names.USER_ID, "enduser.id")),
    ("organization", (names.ORGANIZATION,)),
    ("project", (names.PROJECT,)),
    ("workspace", (names.WORKSPACE,)),
)
_RESOURCE_LABELS: Final = (
    ("department", "department"),
    ("cost_center", "cost_center"),
    ("cost_center", "cost.center"),
    ("repository", "vcs.repository.url.full"),
    ("repository", "vcs.repository.name"),
    ("repository", "repository"),
)
_PLACES: Final[Mapping[str, tuple[int, str, bool]]] = {
    name: (rank, slot, is_field)
    for rank, (slot, name, is_field) in enumerate(
        [
            *((field, name, True) for field, aliases in _RESOURCE_FIELDS for name in aliases),
            *((label, name, False) for label, name in _RESOURCE_LABELS),
        ]
    )
}
"""Attribute of a process → rank among its aliases, field or label, which of the two."""


class _Marked:
    """Stands for a dialect where the scope tells nothing: the attributes of each shape give it away, or nobody does."""

    def __init__(self, marked: tuple[tuple[frozenset[str], Compiler], ...], anybody: Compiler) -> None:
        self._marked = marked
        self._anybody = anybody
        self._chosen: dict[tuple[str, ...], Compiler] = {}

    def plan(self, attributes: Attributes) -> Plan | None:
        shape = tuple(attributes)
        compiler = self._chosen.get(shape)
        if compiler is None:
            present = frozenset(shape)
            compiler = next(
                (found for markers, found in self._marked if not markers.isdisjoint(present)), self._anybody
            )
            if len(self._chosen) >= _MAX_SHAPES or len(shape) > _MAX_SHAPE or any(len(name) > 256 for name in shape):
                self._chosen.clear()
            else:
                self._chosen[shape] = compiler
        return compiler.plan_of(shape)


@dataclass(slots=True)
class _Bound:
    """A source with its dialect and what holds for all of its records."""

    source: Source
    compiler: Compiler | _Marked
    fields: dict[str, Any]
    labels: Mapping[str, str]


class Dialects:
    """Reads spans and log records of any known emitter. Keeps caches only: any number of threads may share one."""

    def __init__(self, dialects: tuple[Dialect, ...] = DIALECTS) -> None:
        compilers = [Compiler(dialect) for dialect in dialects]
        self._exact: dict[str, Compiler] = {}
        prefixes: list[tuple[str, Compiler]] = []
        self._events: dict[str, Compiler] = {}
        self._services = tuple((name, compiler) for compiler in compilers for name in compiler.dialect.services)
        for compiler in compilers:
            for scope in compiler.dialect.scopes:
                if scope.endswith("*"):
                    prefixes.append((scope[:-1], compiler))
                else:
                    self._exact[scope] = compiler
            for event in compiler.dialect.events:
                self._events[event] = compiler
        self._prefixes = sorted(prefixes, key=lambda pair: -len(pair[0]))
        marked = tuple((frozenset(c.dialect.markers), c) for c in compilers if c.dialect.markers)
        self._unclaimed = _Marked(marked, compilers[-1])
        self._by_scope: dict[str, Compiler | _Marked] = {}
        self._bound: dict[int, _Bound] = {}

    def read_span(self, record: SpanRecord) -> Observation | None:
        """What a span says about a model call; ``None`` when it says nothing. No attribute value makes it raise.

        ``org_id`` and ``received_ns`` are left for the caller to fill in.
        """
        source = record.source
        bound = self._bound.get(id(source))
        if bound is None or bound.source is not source:
            bound = self._bind(source)
        if record.events:
            record = _with_event_usage(record, bound.compiler)
        return _read(record, bound.compiler, bound)

    def read_table(self, table: SpanTable) -> Reading | None:
        """What the spans of a table say, as `read_span` would say it; ``None`` to read them one by one."""
        bound = self._bound_to(table.source)
        plan = bound.compiler.plan(dict.fromkeys(table.names))
        if plan is None:
            return Reading(silent=range(len(table)))
        return tabular.read(table, plan, bound.fields, bound.labels)

    def read_log(self, record: LogEntry) -> Observation | None:
        """What a log record says about a model call; ``None`` when it says nothing. No value makes it raise."""
        compiler = self._event_compiler(record)
        if compiler is None:
            return None
        bound = self._bound_to(record.source)
        if compiler is self._unclaimed:
            compiler = bound.compiler
        return _read(record, compiler, bound)

    def _event_compiler(self, record: LogEntry) -> Compiler | _Marked | None:
        """Emitters put the event's name into the attribute, the field or the body, with or without their own prefix."""
        named = record.attributes.get("event.name")
        for name in (named, record.event_name, record.body):
            if not isinstance(name, str) or not name:
                continue
            if name == INFERENCE_DETAILS:
                return self._unclaimed
            compiler = self._events.get(name) or self._events.get(f"{record.source.scope_name}/{name}")
            if compiler is not None:
                return compiler
        return self._unclaimed if _is_model_call(record.attributes) else None

    def _bound_to(self, source: Source) -> _Bound:
        bound = self._bound.get(id(source))
        return bound if bound is not None and bound.source is source else self._bind(source)

    def _bind(self, source: Source) -> _Bound:
        fields, labels = _of_process(source)
        compiler = self._compiler(source.scope_name)
        if compiler is self._unclaimed:
            service = fields.get("service_name", "")
            compiler = next((found for name, found in self._services if service.startswith(name)), compiler)
        bound = _Bound(source, compiler, fields, labels)
        if len(self._bound) >= _MAX_SOURCES:
            self._bound.clear()
        self._bound[id(source)] = bound
        return bound

    def _compiler(self, scope: str) -> Compiler | _Marked:
        found = self._by_scope.get(scope)
        if found is None:
            found = self._exact.get(scope) or next(
                (compiler for prefix, compiler in self._prefixes if scope.startswith(prefix)), self._unclaimed
            )
            if len(scope) <= _MAX_SHAPE:
                if len(self._by_scope) >= _MAX_SCOPES:
                    self._by_scope.clear()
                self._by_scope[scope] = found
        return found


def _has_usage(attributes: Attributes) -> bool:
    for name in _USAGE:  # noqa: SIM110 - a generator takes twice as long
        if name in attributes:
            return True
    return False


def _is_model_call(attributes: Attributes) -> bool:
    """Whether a log record says itself that it is one answer of a model: usage, and an operation or the answer's id.

    Usage alone may be the sum of a turn or a session.
    """
    if not _has_usage(attributes):
        return False
    operation = attributes.get("gen_ai.operation.name")
    return (isinstance(operation, str) and operation in conventions.MODEL_OPERATIONS) or bool(
        attributes.get("gen_ai.response.id")
    )


def _read(record: SpanRecord | LogEntry, compiler: Compiler | _Marked, bound: _Bound) -> Observation | None:
    plan = compiler.plan(record.attributes)
    if plan is None:
        return None
    if plan.maps:
        flat = flattened(record.attributes, plan.maps)
        if flat is not None:
            record = replace(record, attributes=flat)
            plan = compiler.plan(flat)
            if plan is None:
                return None
    return reader.read(record, plan, bound.fields, bound.labels)


def _with_event_usage(record: SpanRecord, compiler: Compiler | _Marked) -> SpanRecord:
    """Emitters that put the model call into an event of its span: the event's attributes fill what the span lacks."""
    if _counts(record.attributes, compiler):
        return record
    for event in record.events:
        if event.name != "exception" and _counts(event.attributes, compiler):
            filled = {**record.attributes}
            for name, value in event.attributes.items():
                filled.setdefault(name, value)
            return replace(record, attributes=filled)
    return record


def _counts(attributes: Attributes, compiler: Compiler | _Marked) -> bool:
    """Whether attributes hold a model call's usage, by the conventions or by the emitter's own table."""
    if _has_usage(attributes):
        return True
    plan = compiler.plan(attributes)
    return plan is not None and bool(
        plan.exact or plan.objects or any(slot in ("input", "output") for slot, *_ in plan.counts)
    )


def _of_process(source: Source) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Fields and labels that the resource (and scope) attributes give to every record.

    Small requests bring a source for every few records, so that this is run through once.
    """
    fields: dict[str, Any] = {"scope_name": source.scope_name[:256], "scope_version": source.scope_version[:64]}
    labels: dict[str, str] = {}
    for attributes in (source.scope_attributes, source.resource):
        if not attributes:
            continue
        found = [(*_PLACES[name], name) for name in attributes if name in _PLACES]
        found.sort()
        for _, slot, is_field, name in found:
            into = fields if is_field else labels
            if slot not in into:
                text = values.text(attributes[name])
                if isinstance(text, str):
                    into[slot] = text
        for name in attributes:
            if name.startswith(names.LABEL_PREFIX) and len(name) > len(names.LABEL_PREFIX):
                text = values.text(attributes[name])
                if isinstance(text, str):
                    labels.setdefault(name[len(names.LABEL_PREFIX) :], text)
    return fields, MappingProxyType(labels)


def trust(dialect: str) -> int:
    """How near to the provider a dialect's evidence is: 3 the provider's SDK or ourselves, 2 an instrumentation of it,
    1 a framework, 0 anybody or an unknown name."""
    return _TRUST.get(dialect, 0)


_TRUST: Final[Mapping[str, int]] = MappingProxyType({dialect.name: dialect.trust for dialect in DIALECTS})
