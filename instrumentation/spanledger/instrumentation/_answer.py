"""What an SDK module reads out of a request and a response, in one shape for all SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import Usage


@dataclass(slots=True, kw_only=True)
class Answer:
    """A response as the span shows it. Unknown text is ``""``, unknown numbers are ``None``.

    It is read in the application's thread as soon as the response is there, so that the response itself can be freed;
    the token classes are worked out later, from ``usage``.

    Attributes:
        usage: a copy of the provider's usage document; ``None`` when it sent none.
        inference_geo: where inference ran, where the answer tells it.
        error_type: set when the provider reports a failure inside an answer with HTTP status 200.
        is_batch: it was computed by a batch job, at batch rates; ``batch_id`` names the job where that is known.
        request_id: the provider's id of the request, where no response header tells it.
        is_billable: False for an answer that witnesses no call (a poll for a response that is still running).
        is_partial: the answer broke off before its usage was known.
        counts: what is billed per use, where the answer's content tells and the usage document does not.
        messages: the generated messages in the conventions' JSON shape, where content is captured.
        notes: short machine words about what could not be read.
        attributes: further span attributes of this SDK.
    """

    model: str = ""
    id: str = ""
    usage: Mapping[str, Any] | None = None
    service_tier: str = ""
    inference_geo: str = ""
    finish_reasons: tuple[str, ...] = ()
    tool_calls: Sequence[ToolCall] = ()
    error_type: str = ""
    is_batch: bool = False
    batch_id: str = ""
    request_id: str = ""
    is_billable: bool = True
    is_partial: bool = False
    counts: Mapping[str, int] | None = None
    messages: Sequence[Any] = ()
    notes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a usage document says.

    Attributes:
        usage: disjoint token classes; a class that the provider did not report is ``None``.
        exact_cost_usd: what the provider itself says that the call cost.
        notes: short machine words about what could not be read.
    """

    usage: Usage
    exact_cost_usd: Decimal | None = None
    notes: tuple[str, ...] = ()


class StreamReader(Protocol):
    """Watches the chunks of one stream; made by an `Endpoint` for each stream."""

    def feed(self, chunk: Any, /) -> bool:
        """Look at a chunk in well under a microsecond. True: keep it from the caller, who did not ask for it."""
        ...

    def answer(self, *, is_complete: bool) -> Answer:
        """What the stream said. ``is_complete`` is False when it broke off or was abandoned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One kind of request of an SDK, and how to read it.

    Attributes:
        operation: ``gen_ai.operation.name``.
        read_response: reads a complete answer, the SDK's model or the decoded JSON document, by its fields. Takes a
            few microseconds at most and keeps no reference to it.
        read_usage: works out the token classes of an answer, later.
        request_keys: fields of the request body that `read_request` wants; copied when the call starts.
        read_request: writes the request's span attributes; ``None`` where the model is all that is recorded.
        tool_results: tool results that this request hands to the model, from the body, read when the call starts.
        new_reader: a reader for a streamed answer; told whether the usage chunk was our wish, and whether content is
            captured.
        ask_for_usage: ask for usage in a stream: returns the changed body, or ``None`` when nothing is to change.
        counts_of_request: what a call is billed for by its request alone, from the body, read when the call starts.
        read_item: of a list whose items are answers, or a file whose lines are: reads one, given the URL path that it
            came from.
        read_items: of a file whose lines are answers: reads them all, later, from the file; where it is not there as a
            whole, `read_item` reads its lines as they come.
        starts_late: the span is made when the answer is known to witness a call (polling for a background response).
        yields: a request of a library above an SDK: it is recorded only where no call inside it is.
        input_messages: prompts by span attribute; read only when content is captured, when the call starts.
        output_messages: generated messages in the conventions' JSON shape; read only when content is captured.
        attributes: constant span attributes.
    """

    operation: str
    read_response: Callable[[Mapping[str, Any]], Answer]
    read_usage: Callable[[Answer], Counted]
    request_keys: tuple[str, ...] = ()
    read_request: Callable[[Mapping[str, Any], dict[str, Any]], None] | None = None
    tool_results: Callable[[Mapping[str, Any]], list[ToolCall]] | None = None
    new_reader: Callable[[bool, bool], StreamReader] | None = None
    ask_for_usage: Callable[[Mapping[str, Any]], dict[str, Any] | None] | None = None
    counts_of_request: Callable[[Mapping[str, Any]], Mapping[str, int] | None] | None = None
    read_item: Callable[[str, Any], tuple[Endpoint, Answer, int] | None] | None = None
    read_items: Callable[[bytes], Iterator[tuple[Endpoint, Answer, int]]] | None = None
    starts_late: bool = False
    yields: bool = False
    input_messages: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    output_messages: Callable[[Mapping[str, Any]], list[Any]] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def read(self, known: Mapping[str, Any], *, captures: bool) -> Answer:
        """A complete answer by its fields, with its messages where content is captured."""
        answer = self.read_response(known)
        if captures and self.output_messages is not None:
            answer.messages = self.output_messages(known)
        return answer
