"""xAI's protobuf messages: what a request asks and what an answer says.

``prompt_tokens`` holds cached and image tokens; ``completion_tokens`` leaves reasoning out, as the total shows.
``cost_in_usd_ticks`` (1e-10 USD, xAI's ``usage.proto``) is what the call is charged, tool fees and discounts included.

The SDK's generated classes are never imported: whatever version of them the application has, a message is read by the
names of its fields, and a field that it does not have is unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._openai_usage import read_usage
from spanledger.instrumentation._reading import size, text
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall

REQUEST: Final = "message"
"""Key of the request's message in the body that an endpoint reads."""
CONVERSATION: Final = "conversation"

_DONE: Final = "DONE"
_ARGUMENTS: Final = (
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE),
    ("top_p", gen_ai.GEN_AI_REQUEST_TOP_P),
    ("frequency_penalty", gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY),
    ("presence_penalty", gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY),
    ("max_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS),
    ("seed", gen_ai.GEN_AI_REQUEST_SEED),
)
_FINISH_REASONS: Final[Mapping[str, str]] = MappingProxyType({"max_len": "length", "max_context": "length"})
_SEARCHES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "web_search": "web_searches",
        "x_search": "social_searches",
        "code_execution": "code_executions",
        "collections_search": "storage_searches",
        "attachment_search": "storage_searches",
    }
)


def _has(message: Any, field: str) -> bool:
    """Whether an optional field of a message is set; False for a field that it does not know."""
    try:
        return bool(message.HasField(field))
    except ValueError:
        return False


def _word(message: Any, field: str, prefix: str) -> str:
    """The word for an enumeration's value, without its prefix: ``REASON_STOP`` → ``stop``. ``""`` when it is unset."""
    return _of_enumeration(message, field, getattr(message, field, 0), prefix)


def _of_enumeration(message: Any, field: str, number: int, prefix: str) -> str:
    if not number:
        return ""
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return "" if value is None else str(value.name).removeprefix(prefix).lower()


def _read_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    message = request.get(REQUEST)
    if message is None:
        return  # an answer of a batch, whose request is not at hand
    for field, attribute in _ARGUMENTS:
        if _has(message, field):
            value = getattr(message, field)
            found[attribute] = round(value, 6) if isinstance(value, float) else value  # a float of 32 bits
    if len(message.stop):
        found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = tuple(message.stop)
    if _has(message, "n") and message.n != 1:
        found[gen_ai.GEN_AI_REQUEST_CHOICE_COUNT] = message.n
    if _has(message, "reasoning_effort"):
        found[gen_ai.GEN_AI_REQUEST_REASONING_LEVEL] = _word(message, "reasoning_effort", "EFFORT_")
    if _has(message, "response_format"):
        kind = _word(message.response_format, "format_type", "FORMAT_TYPE_")
        found[gen_ai.GEN_AI_OUTPUT_TYPE] = "text" if kind == "text" else "json"
    if conversation := text(request.get(CONVERSATION)):
        found[gen_ai.GEN_AI_CONVERSATION_ID] = conversation


def _tool_results(body: Mapping[str, Any]) -> list[ToolCall]:
    """Tool results after the last answer of the model; earlier ones were handed over by earlier calls."""
    messages = body[REQUEST].messages
    found: list[ToolCall] = []
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if _word(message, "role", "ROLE_") != "tool":
            break
        said = "".join(str(part.text) for part in message.content)
        call_id = text(getattr(message, "tool_call_id", ""))
        found.append(
            ToolCall(
                name=_name_of(messages, index, call_id),
                id=call_id,
                kind="result",
                output_bytes=size(said),
                output=said,
            )
        )
    found.reverse()
    return found


def _name_of(messages: Any, before: int, call_id: str) -> str:
    for index in range(before - 1, -1, -1):
        for call in messages[index].tool_calls:
            if call_id and call.id == call_id:
                return str(call.function.name)
    return ""


def _used_tools(calls: Any) -> list[ToolCall]:
    return [
        ToolCall(
            name=call.function.name,
            id=call.id,
            is_error=_word(call, "status", "TOOL_CALL_STATUS_") == "failed",
            input_bytes=size(call.function.arguments),
            input=call.function.arguments,
        )
        for call in calls
        if _has(call, "function")
    ]


def usage_of(message: Any) -> dict[str, Any] | None:
    """The usage of an answer under the names of xAI's REST API, which counts alike; ``None`` when it tells none."""
    if not _has(message, "usage"):
        return None
    usage = message.usage
    found: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_prompt_text_tokens,
            "image_tokens": usage.prompt_image_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if _has(usage, "cost_in_usd_ticks"):
        found["cost_in_usd_ticks"] = usage.cost_in_usd_ticks
    return found


def _counts_of(message: Any) -> dict[str, int] | None:
    """Uses of xAI's own tools and sources, each billed apart."""
    if not _has(message, "usage"):
        return None
    usage = message.usage
    found = Counter[str]()
    for number in getattr(usage, "server_side_tools_used", ()):
        word = _of_enumeration(usage, "server_side_tools_used", number, "SERVER_SIDE_TOOL_")
        if count := _SEARCHES.get(word):
            found[count] += 1
    if usage.num_sources_used:
        found["search_sources"] = usage.num_sources_used
    return dict(found) or None


def _reason(output: Any) -> str:
    word = _word(output, "finish_reason", "REASON_")
    return _FINISH_REASONS.get(word, word)


def read_chat(message: Any, *, captures: bool) -> Answer:
    """A ``GetChatCompletionResponse``."""
    return Answer(
        model=message.model,
        id=message.id,
        usage=usage_of(message),
        counts=_counts_of(message),
        service_tier=_word(message, "service_tier", "SERVICE_TIER_"),
        finish_reasons=tuple(filter(None, map(_reason, message.outputs))),
        tool_calls=[call for output in message.outputs for call in _used_tools(output.message.tool_calls)],
        messages=[_said(output.message, _reason(output)) for output in message.outputs] if captures else (),
    )


def read_compaction(message: Any, *, captures: bool) -> Answer:
    """A ``CompactContextResponse``, whose text nobody but xAI can read."""
    return Answer(id=message.id, usage=usage_of(message))


def read_images(message: Any, *, captures: bool) -> Answer:
    """An ``ImageResponse``."""
    return Answer(model=message.model, usage=usage_of(message), counts={"images": len(message.images)})


def read_video(message: Any, *, request: Any) -> Answer:
    """A ``GetDeferredVideoResponse``: the answer to a poll, which witnesses a call once the video is there."""
    video = message.response
    return Answer(
        model=video.model,
        id=request.request_id,
        usage=usage_of(video),
        is_billable=_word(message, "status", "") == _DONE.lower(),
    )


def batch_answers(page: Any, *, batch_id: str) -> list[tuple[Endpoint, Answer, int]]:
    """The answers in a page of a batch's results; what failed is not billed."""
    found: list[tuple[Endpoint, Answer, int]] = []
    for result in page.results:
        response = result.response
        if result.error.code:
            continue
        made_ns = 0
        if _has(response, "completion_response"):
            endpoint, answer = CHAT, read_chat(response.completion_response, captures=False)
            made_ns = response.completion_response.created.seconds * 1_000_000_000
        elif _has(response, "image_response"):
            endpoint, answer = IMAGES, read_images(response.image_response, captures=False)
        elif _has(response, "video_response"):
            video = response.video_response
            endpoint, answer = VIDEOS, Answer(model=video.model, usage=usage_of(video))
        else:
            continue
        answer.id = answer.id or f"{batch_id}/{result.batch_request_id}"
        answer.is_batch, answer.batch_id = True, batch_id
        found.append((endpoint, answer, made_ns))
    return found


class ChatReader:
    """Reads a stream of ``GetChatCompletionChunk``; every chunk carries the usage up to it."""

    __slots__ = ("_captures", "_counted", "_last", "_reasons", "_texts", "_tools")

    def __init__(self, _hides_usage: bool, captures: bool) -> None:
        self._captures = captures
        self._last: Any = None
        self._counted: Any = None
        self._reasons: dict[int, str] = {}
        self._tools: list[ToolCall] = []
        self._texts: dict[int, list[tuple[str, str]]] = {}

    def feed(self, chunk: Any) -> bool:
        self._last = chunk
        if chunk.HasField("usage"):
            self._counted = chunk
        for output in chunk.outputs:
            if output.finish_reason:
                self._reasons[output.index] = _reason(output)
            if output.delta.tool_calls:
                self._tools += _used_tools(output.delta.tool_calls)
            if self._captures:
                delta = output.delta
                self._texts.setdefault(output.index, []).append((delta.reasoning_content, delta.content))
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        last = self._last
        is_partial = not is_complete and not self._reasons
        answer = Answer(is_partial=is_partial, notes=("stream_ended_early",) if is_partial else ())
        if last is None:
            return answer
        answer.model, answer.id = last.model, last.id
        if self._counted is not None:
            answer.usage = usage = usage_of(self._counted)
            answer.counts = _counts_of(self._counted)
            if is_partial and usage is not None:
                usage.pop("cost_in_usd_ticks", None)  # what it had cost by then is not what is charged
        answer.service_tier = _word(last, "service_tier", "SERVICE_TIER_")
        answer.finish_reasons = tuple(self._reasons[index] for index in sorted(self._reasons))
        answer.tool_calls = self._tools
        if self._captures:
            answer.messages = [self._said(index) for index in sorted(self._texts)]
        return answer

    def _said(self, index: int) -> dict[str, Any]:
        thought, said = ("".join(pieces) for pieces in zip(*self._texts[index], strict=True))
        parts = [{"type": "reasoning", "content": thought}] if thought else []
        parts += content.parts(said)
        if index == min(self._texts):
            parts += [content.tool_call(call.id, call.name, call.input) for call in self._tools]
        return {"role": "assistant", "parts": parts, "finish_reason": self._reasons.get(index, "")}


def _said(message: Any, reason: str) -> dict[str, Any]:
    """A generated message in the conventions' shape."""
    parts = [{"type": "reasoning", "content": message.reasoning_content}] if message.reasoning_content else []
    parts += content.parts(message.content)
    parts += [content.tool_call(call.id, call.name, call.input) for call in _used_tools(message.tool_calls)]
    return {"role": _word(message, "role", "ROLE_") or "assistant", "parts": parts, "finish_reason": reason}


def _asked(body: Mapping[str, Any]) -> dict[str, Any]:
    request = body[REQUEST]
    messages = getattr(request, "messages", None)
    found = [_told(message) for message in (getattr(request, "input", ()) if messages is None else messages)]
    return {gen_ai.GEN_AI_INPUT_MESSAGES: found}


def _told(message: Any) -> dict[str, Any]:
    role = _word(message, "role", "ROLE_")
    said = "".join(str(part.text) for part in message.content)
    if role == "tool":
        call_id = text(getattr(message, "tool_call_id", ""))
        return {"role": role, "parts": [{"type": "tool_call_response", "id": call_id, "response": said}]}
    parts = content.parts(said)
    # media are named, not copied
    parts += [{"type": kind} for part in message.content for kind in ("image_url", "file") if _has(part, kind)]
    parts += [content.tool_call(call.id, call.name, call.input) for call in _used_tools(message.tool_calls)]
    return {"role": role, "parts": parts}


def _prompt_asked(body: Mapping[str, Any]) -> dict[str, Any]:
    return content.asked(body[REQUEST].prompt)


def _not_fields(_response: Mapping[str, Any]) -> Answer:
    return Answer()  # messages have no fields that a document has: the SDK's module reads them


CHAT: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT,
    request_keys=(REQUEST, CONVERSATION),
    read_request=_read_request,
    read_response=_not_fields,
    read_usage=read_usage,
    tool_results=_tool_results,
    new_reader=ChatReader,
    input_messages=_asked,
)
COMPACT: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT,
    read_response=_not_fields,
    read_usage=read_usage,
    input_messages=_asked,
)
IMAGES: Final = Endpoint(
    operation="image_generation",
    read_response=_not_fields,
    read_usage=read_usage,
    input_messages=_prompt_asked,
)
VIDEOS: Final = Endpoint(
    operation="video_generation",
    read_response=_not_fields,
    read_usage=read_usage,
    starts_late=True,
)
