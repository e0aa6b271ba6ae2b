"""The OTel GenAI conventions, old and new: the fall-back for every emitter that no other dialect knows.

Source: OTel semantic conventions for generative AI up to 1.41 and their successor repository (``cache_write`` for
``cache_creation``, ``provider.name`` for ``system``). Input includes cached tokens and output includes reasoning by the
conventions; because not every emitter obeys, arithmetic is asked first where a total was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spanledger.semconv import names
from spanledger.semconv.dialects import unknown
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.observation import Role

TEXTS: Final[Aliases] = {
    "provider": ("gen_ai.provider.name", "gen_ai.system"),
    "operation": ("gen_ai.operation.name", "llm.request.type"),
    "request_model": ("gen_ai.request.model",),
    "response_model": ("gen_ai.response.model",),
    "response_id": ("gen_ai.response.id",),
    "request_id": (names.REQUEST_ID, "aws.request_id", "anthropic.request.id", "openai.request.id", "request_id"),
    "error_type": ("error.type",),
    "service_tier": (
        names.SERVICE_TIER,
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "anthropic.response.service_tier",
        "gen_ai.response.service_tier",
    ),
    "inference_geo": (names.INFERENCE_GEO, "anthropic.response.inference_geo"),
    "session_id": (names.SESSION_ID, "gen_ai.conversation.id"),
    "user_id": (names.USER_ID, "enduser.id", "gen_ai.user", "gen_ai.request.user"),
    "team_id": (names.TEAM_ID, "team.id", "team_id", "team"),
    "feature": (names.FEATURE, "feature", "feature.name"),
    "service_name": ("service.name",),
    "environment": ("deployment.environment.name", "deployment.environment", "gen_ai.environment"),
    "server_address": ("server.address", "gen_ai.openai.api_base", "url.full", "http.url"),
    "api_key_fingerprint": (names.API_KEY_FINGERPRINT,),
    "organization": (names.ORGANIZATION, "anthropic.organization.id", "openai.organization.id", "organization.id"),
    "project": (names.PROJECT, "openai.project.id"),
    "workspace": (names.WORKSPACE,),
    "batch_id": (names.BATCH_ID,),
    "claimed_price_id": (names.COST_PRICE_ID,),
}

COUNTS: Final[Aliases] = {
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cached_tokens",
    ),
    "cache_write": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
    ),
    "cache_write_5m": (
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens",
        "gen_ai.usage.details.ephemeral_5m_input_tokens",
    ),
    "cache_write_1h": (
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
        "gen_ai.usage.details.ephemeral_1h_input_tokens",
    ),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.details.thoughts_tokens",
    ),
    "input_audio": ("gen_ai.usage.audio.input_tokens",),
    "input_image": ("gen_ai.usage.image.input_tokens",),
    "output_audio": ("gen_ai.usage.audio.output_tokens",),
    "output_image": ("gen_ai.usage.image.output_tokens",),
    "total": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
}

MODEL_OPERATIONS: Final[Mapping[str, str]] = {
    spelling: word
    for word, spellings in {
        "chat": "chat acompletion completion completions responses aresponses llm_call messages message"
        " anthropic_messages chat.completions chat.streaming_completions stream_chat call_llm",
        "text_completion": "text_completion atext_completion text.completions text.streaming_completions generate",
        "generate_content": "generate_content",
        "embeddings": "embeddings embedding aembedding embed",
        "rerank": "rerank reranker",
        "image_generation": "image_generation",
        "transcription": "transcription",
        "speech": "speech",
        "moderation": "moderation",
    }.items()
    for spelling in spellings.split()
}
"""Operations that are one request to a model, in every spelling seen, and the ledger's word for each."""
SUM_OPERATIONS: Final = frozenset(
    (
        *("invoke_agent", "create_agent", "invoke_workflow", "agent_step", "execute_event_loop_cycle", "execute_task"),
        *("plan", "handoff", "chain", "parser", "workflow", "task", "agent", "retriever", "retrieval", "prompt"),
        *("evaluate", "guardrail"),
    )
)
"""Operations around model requests: what usage they carry is their children's."""


def role(draft: Draft) -> Role | None:
    """Model call, aggregate, tool or nothing, from the operation; without one from what the span carries."""
    operation = draft.get("operation")
    word = MODEL_OPERATIONS.get(operation)
    if word is not None:
        draft.fields["operation"] = word
        return Role.LEAF
    if operation in SUM_OPERATIONS:
        return Role.AGGREGATE
    if operation == "execute_tool":
        return Role.DETAIL
    has_model = bool(draft.get("request_model") or draft.get("response_model"))
    if draft.has_usage:
        if operation or not has_model:
            draft.notes.append("unknown_operation")
        return Role.LEAF if has_model or draft.get("response_id") else Role.AGGREGATE
    if has_model or draft.get("response_id"):
        return Role.LEAF if not operation and _is_client(draft) else Role.AGGREGATE
    return None


def _is_client(draft: Draft) -> bool:
    return getattr(draft.record, "kind", 0) == 3  # SPAN_KIND_CLIENT


DIALECT: Final = Dialect(
    name="otel",
    scopes=(),
    texts=TEXTS,
    counts=COUNTS,
    role=role,
    input_holds_cache=None,
    output_holds_reasoning=None,
    guess=unknown.meaning,
    asks=(),
    trust=0,
)
