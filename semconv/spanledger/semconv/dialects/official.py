"""Instrumentations of the OpenTelemetry project and Elastic, which follow the conventions; Bedrock's do not.

Read from ``opentelemetry-instrumentation-genai-*`` 1.3b0, ``-openai-v2`` 2.4b0, ``elastic-opentelemetry`` 1.2.0 and
``-botocore`` 0.66b2.
"""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions
from spanledger.semconv.dialects.table import Dialect, Draft


def note_broken_stream(draft: Draft) -> None:
    """A stream without a stop reason broke off: what it reports of the output is where it began."""
    fields = draft.fields
    if fields.get("is_stream") and not fields.get("stop_reason") and draft.counts.get("output", 0) <= 8:
        draft.partial = True


GENAI: Final = Dialect(
    name="otel_genai",
    scopes=(
        "opentelemetry.instrumentation.genai.*",
        "opentelemetry.instrumentation.google_genai",
        "opentelemetry.instrumentation.vertexai",
        "opentelemetry.instrumentation.openai_v2",
        "opentelemetry.instrumentation.openai_agents_v2",
        "opentelemetry.util.genai.*",
        "opentelemetry.instrumentation.openai",
        "@opentelemetry/instrumentation-openai",
        "@elastic/opentelemetry-instrumentation-openai",
    ),
    texts=conventions.TEXTS,
    counts=conventions.COUNTS,
    role=conventions.role,
    adjust=note_broken_stream,
    asks=(),
)


def _bedrock(draft: Draft) -> None:
    note_broken_stream(draft)
    model = draft.get("request_model")
    if "embed" in model and draft.get("operation") == "text_completion":
        draft.fields["operation"] = "embeddings"
    method = draft.attributes.get("rpc.method")
    invoked = isinstance(method, str) and method.startswith("InvokeModel")
    if invoked and "claude" in model and draft.counts and "cache_read" not in draft.counts:
        # botocore's instrumentation reads Claude's usage there without its cache, if there was any.
        draft.notes.append("cache_lost")


BEDROCK: Final = Dialect(
    name="otel_bedrock",
    scopes=(
        "opentelemetry.instrumentation.genai.bedrock",
        "opentelemetry.instrumentation.botocore.*",
        "@opentelemetry/instrumentation-aws-sdk",
    ),
    texts=conventions.TEXTS,
    counts=conventions.COUNTS,
    role=conventions.role,
    input_holds_cache=False,
    adjust=_bedrock,
    asks=("rpc.method",),
)
