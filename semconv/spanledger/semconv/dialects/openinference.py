"""OpenInference (Arize), Python and JavaScript, whichever library it instruments."""

from __future__ import annotations

import re
from typing import Final

from spanledger.semconv.dialects import conventions, ids, values
from spanledger.semconv.dialects.official import note_broken_stream
from spanledger.semconv.dialects.table import BAG_KEYS, Aliases, Dialect, Draft
from spanledger.semconv.observation import Role

TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "provider": ("llm.provider", "llm.system", *conventions.TEXTS["provider"]),
    "operation": ("openinference.span.kind",),
    "request_model": ("llm.request.model_name", *conventions.TEXTS["request_model"]),
    "response_model": (
        "llm.response.model_name",
        "llm.model_name",
        "embedding.model_name",
        "reranker.model_name",
        *conventions.TEXTS["response_model"],
    ),
}
_T: Final = "llm.token_count."
_C: Final = conventions.COUNTS
COUNTS: Final[Aliases] = {
    **_C,  # its processors add their names to other emitters' spans, and leave out what they have none for
    "input": (_T + "prompt", *_C["input"]),
    "output": (_T + "completion", *_C["output"]),
    "cache_read": (_T + "prompt_details.cache_read", _T + "prompt_details.cache_input", *_C["cache_read"]),
    "cache_write": (_T + "prompt_details.cache_write", *_C["cache_write"]),
    "reasoning": (_T + "completion_details.reasoning", *_C["reasoning"]),
    "input_audio": (_T + "prompt_details.audio", *_C["input_audio"]),
    "output_audio": (_T + "completion_details.audio", *_C["output_audio"]),
    "total": (_T + "total", *_C["total"]),
}
_KINDS: Final = {"LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank"}
_WHO: Final = ('"session', '"user', '"thread', '"conversation', '"team', '"feature', '"end_user')
_PLACE: Final = '"inference_geo":"'
_LONGEST_PLACE: Final = 40
_MODEL: Final = re.compile(r'"model"\s*:\s*"([^"\\]{1,200})"')


def _role(draft: Draft) -> Role | None:
    kind = draft.get("operation").upper()
    operation = _KINDS.get(kind)
    if operation is not None:
        draft.fields["operation"] = operation
        if not draft.has_usage and getattr(draft.record, "name", "").rpartition(".")[2].startswith("_"):
            # LlamaIndex's LLM classes are traced with their private methods: OpenAI._prepare_chat_with_tools
            return Role.AGGREGATE
        return Role.LEAF
    if not values.is_word(kind) and draft.has_usage and (draft.get("response_model") or draft.get("request_model")):
        draft.fields["operation"] = "chat" if "output" in draft.counts else "embeddings"
        draft.notes.append("unknown_operation")
        return Role.LEAF
    draft.fields["operation"] = kind.lower()
    if kind == "TOOL":
        return Role.DETAIL
    return Role.AGGREGATE


def metadata(draft: Draft, name: str = "metadata") -> None:
    """Session, user and team from a JSON object that users attach to their spans."""
    written = draft.attributes.get(name)
    if written is None:
        return
    if isinstance(written, str):
        if len(written) > values.MAX_JSON:
            return
        folded = written.lower()
        if not any(word in folded for word in _WHO):
            return  # most metadata says nothing about who: do not parse it
    found = values.mapping(written)
    for key, value in found.items():
        field = BAG_KEYS.get(key.lower())
        if field is not None and not draft.fields.get(field):
            text = values.known_text(value)
            if text:
                draft.fields[field] = text


def _adjust(draft: Draft) -> None:
    metadata(draft)
    if draft.role is not Role.LEAF:
        draft.counts.clear()  # chains repeat their children's usage
        return
    attributes, fields = draft.attributes, draft.fields
    parameters = attributes.get("llm.invocation_parameters") or attributes.get("embedding.invocation_parameters")
    if isinstance(parameters, str) and len(parameters) <= values.MAX_JSON:
        if not draft.get("request_model") and (match := _MODEL.search(parameters)):
            fields["request_model"] = match[1]
        if "is_stream" not in fields and '"stream": true' in parameters:
            fields["is_stream"] = True
    if not draft.get("response_id"):
        fields["response_id"] = ids.in_json(attributes.get("output.value"))
    output = attributes.get("output.value")
    if isinstance(output, str) and (at := output.rfind(_PLACE)) >= 0:  # an answer's usage stands at its end
        start = at + len(_PLACE)
        fields["inference_geo"] = output[start : start + _LONGEST_PLACE].partition('"')[0]
    note_broken_stream(draft)


DIALECT: Final = Dialect(
    name="openinference",
    scopes=("openinference.*", "@arizeai/*"),
    markers=("openinference.span.kind",),
    texts=TEXTS,
    counts=COUNTS,
    role=_role,
    adjust=_adjust,
)


def _litellm(draft: Draft) -> None:
    _adjust(draft)
    for field in ("request_model", "response_model"):
        # LiteLLM's own routing prefix: openai/gpt-4o-mini.
        provider, slash, model = draft.get(field).partition("/")
        if slash and model:
            draft.fields[field] = model
            draft.fields.setdefault("provider", provider)


LITELLM: Final = Dialect(
    name="openinference_litellm",
    scopes=("openinference.instrumentation.litellm",),
    texts=TEXTS,
    counts=COUNTS,
    role=_role,
    adjust=_litellm,
    trust=1,
)


FRAMEWORKS: Final = Dialect(
    name="openinference_frameworks",
    scopes=tuple(
        "openinference.instrumentation." + library
        for library in [
            "langchain",
            "llama_index",
            "openai_agents",
            "agno",
            "autogen",
            "autogen_agentchat",
            "crewai",
            "haystack",
            "dspy",
            "smolagents",
            "pydantic_ai",
            "instructor",
            "guardrails",
            "google_adk",
            "beeai",
            "strands",
            "agentspec",
            "claude_agent_sdk",
        ]
    ),
    texts=TEXTS,
    counts=COUNTS,
    role=_role,
    adjust=_adjust,
    trust=1,
)
