"""Gemini's interactions and decisions: requests of ``google-genai`` that go out through a part of it with documents of
its own.

An interaction counts as a generation does (`_gemini`), under other names. One that runs in the background, or is
continued, is looked up until it has ended: its lookups witness the call as well, by its id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation import _gemini as gemini
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, integer, items, size, text, to_json
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._speakeasy import Retried
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall

_KEY_HEADER: Final = "x-goog-api-key"
_ENDED: Final = frozenset(["completed", "failed", "cancelled", "incomplete", "budget_exceeded", "requires_action"])
_TOTALS: Final = (
    ("total_input_tokens", "promptTokenCount"),
    ("total_cached_tokens", "cachedContentTokenCount"),
    ("total_output_tokens", "candidatesTokenCount"),
    ("total_thought_tokens", "thoughtsTokenCount"),
    ("total_tool_use_tokens", "toolUsePromptTokenCount"),
    ("total_tokens", "totalTokenCount"),
)
_DETAILS: Final = (
    ("input_tokens_by_modality", "promptTokensDetails"),
    ("cached_tokens_by_modality", "cacheTokensDetails"),
    ("output_tokens_by_modality", "candidatesTokensDetails"),
    ("tool_use_tokens_by_modality", "toolUsePromptTokensDetails"),
)
_GROUNDING: Final = {"google_search": "web_searches", "google_maps": "map_searches", "retrieval": "storage_searches"}


def _usage_of(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """A usage document under the names of a generation's."""
    told = fields(document.get("usage"))
    if not told:
        return None
    found = {usual: told[own] for own, usual in _TOTALS if own in told}
    for own, usual in _DETAILS:
        found[usual] = [
            {"modality": text(one.get("modality")), "tokenCount": one.get("tokens")}
            for one in map(fields, items(told.get(own)))
        ]
    return found


def _counts_of(document: Mapping[str, Any], model: str) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for one in map(fields, items(fields(document.get("usage")).get("grounding_tool_count"))):
        name, count = _GROUNDING.get(text(one.get("type"))), integer(one.get("count"))
        if name and count:
            found[name] = gemini.billed_searches(count, model) if name == "web_searches" else count
    return found or None


def _used_tools(steps: Any) -> list[ToolCall]:
    return [
        ToolCall(name=text(step.get("name")), id=text(step.get("id")), input_bytes=size(asked), input=asked)
        for step in map(fields, items(steps))
        if step.get("type") == "function_call"
        for asked in (to_json(step.get("arguments") or {}),)
    ]


def _tool_results(body: Mapping[str, Any]) -> list[ToolCall]:
    return [
        ToolCall(
            name=text(one.get("name")),
            id=text(one.get("call_id")),
            kind="result",
            is_error=bool(one.get("is_error")),
            output_bytes=size(one.get("result")),
            output=to_json(one.get("result")),
        )
        for one in map(fields, items(body.get("input")))
        if one.get("type") == "function_result"
    ]


def _read_interaction(response: Mapping[str, Any]) -> Answer:
    status = text(response.get("status"))
    model = text(response.get("model")).removeprefix("models/")
    return Answer(
        model=model,
        id=text(response.get("id")),
        usage=_usage_of(response),
        service_tier=text(response.get("service_tier")),
        finish_reasons=(status,) if status in _ENDED else (),
        tool_calls=_used_tools(response.get("steps")),
        error_type="failed" if status == "failed" else "",
        counts=_counts_of(response, model),
        attributes={gen_ai.GEN_AI_RESPONSE_STATUS: status} if status else None,
    )


def _read_looked_up(response: Mapping[str, Any]) -> Answer:
    answer = _read_interaction(response)
    answer.is_billable = bool(answer.finish_reasons) and answer.usage is not None
    return answer


def _read_decision(response: Mapping[str, Any]) -> Answer:
    return Answer(usage=_usage_of(response))


class InteractionReader:
    """Reads the events of a streamed interaction. What it is, and its usage, stands in some; the last one counts."""

    __slots__ = ("_known", "_steps")

    def __init__(self, _hides_usage: bool, _captures: bool) -> None:
        self._known: dict[str, Any] = {}
        self._steps: dict[Any, dict[str, Any]] = {}

    def feed(self, event: Any) -> bool:
        kind = event.get("event_type")
        if kind in ("interaction.created", "interaction.completed"):
            told = fields(event.get("interaction"))
            self._known.update({name: value for name, value in told.items() if value is not None})
        elif kind == "interaction.status_update":
            told = {"status": event.get("status"), "usage": event.get("usage"), "id": event.get("interaction_id")}
            self._known.update({name: value for name, value in told.items() if value is not None})
        elif kind == "step.start":
            self._steps[event.get("index")] = {**fields(event.get("step")), "said": ""}
        elif kind == "step.delta":
            step, delta = self._steps.get(event.get("index")), fields(event.get("delta"))
            if step is not None and delta.get("type") == "arguments_delta":
                step["said"] += text(delta.get("arguments"))
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        answer = _read_interaction({"steps": [_with_arguments(step) for step in self._steps.values()], **self._known})
        if not answer.finish_reasons and not (is_complete and answer.usage):
            answer.is_partial = True
            answer.notes = (*answer.notes, "stream_ended_early")
        return answer


def _with_arguments(step: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return {**step, "arguments": json.loads(step["said"])} if step["said"] else step
    except ValueError:
        return step


def _read_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    asked = fields(request.get("generation_config"))
    for name, attribute, kinds in (
        ("max_output_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
        ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
        ("top_p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
        ("thinking_level", gen_ai.GEN_AI_REQUEST_REASONING_LEVEL, (str,)),
    ):
        value = asked.get(name)
        if isinstance(value, kinds) and not isinstance(value, bool):
            found[attribute] = value
    if agent := text(request.get("agent")):
        found[gen_ai.GEN_AI_AGENT_ID] = agent


def _asked(body: Mapping[str, Any]) -> dict[str, Any]:
    return content.asked(body.get("input"), system=body.get("system_instruction"), tools=body.get("tools"))


INTERACTIONS: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_GENERATE_CONTENT,
    request_keys=("generation_config", "agent"),
    read_request=_read_request,
    read_response=_read_interaction,
    read_usage=gemini.read_usage,
    tool_results=_tool_results,
    new_reader=InteractionReader,
    input_messages=_asked,
)
LOOKUP: Final = replace(
    INTERACTIONS,
    read_response=_read_looked_up,
    tool_results=None,
    input_messages=None,
    new_reader=None,
    starts_late=True,
)
DECISIONS: Final = Endpoint(operation="classification", read_response=_read_decision, read_usage=gemini.read_usage)


def _find(method: str, path: str) -> Endpoint | None:
    *_, parent, last = ("", *path.rstrip("/").split("/"))
    if method == "POST":
        return INTERACTIONS if last == "interactions" else DECISIONS if last == "decisions" else None
    return LOOKUP if method == "GET" and parent == "interactions" else None


class _Hooks(Retried):
    """The wrappers. Both methods take ``(hook_ctx, request, ...)`` and are made for every request."""

    def start(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        request = args[1] if len(args) > 1 else kwargs["request"]
        endpoint = _find(request.method, request.url.path)
        if endpoint is None:
            return None
        owner = instance.sdk_configuration
        known = fields(owner)
        body: Mapping[str, Any] = fields(json.loads(request.content)) if request.method == "POST" else {}
        model = text(body.get("model")).removeprefix("models/")
        # The client that sends is the application's, and has its labels; the configuration is the SDK's own.
        sender = known.get("client") or known.get("async_client") or owner
        return self.recorder.begin(endpoint, sender, self._facts(owner, request), {**body, "model": model})

    def error_name(self, status: int) -> str:
        return f"CreateInteraction{'Server' if status >= 500 else 'Client'}Error"

    def _facts(self, owner: Any, request: Any) -> ClientFacts:
        url = request.url
        return self.facts_at(
            owner,
            base_url=f"{url.scheme}://{url.netloc.decode('ascii')}",
            credential=request.headers.get(_KEY_HEADER, ""),
            wire="google",
        )


def patch(module: Any, sdk: str, version: str, recorder: Recorder, problems: Problems) -> Patches:
    """Patch ``google.genai._gaos.basesdk``, which was imported."""
    patches = Patches()
    hooks = _Hooks(sdk, version, recorder, problems, patches)
    hooks.wrap(module, "BaseSDK", "do_request", hooks.around)
    hooks.wrap(module, "AsyncBaseSDK", "do_request_async", hooks.around_async)
    hooks.watch_attempts(module.__name__.rpartition(".")[0])
    return patches
