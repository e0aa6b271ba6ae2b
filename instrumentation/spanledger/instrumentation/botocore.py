"""Amazon Bedrock through botocore (and so boto3): Converse and InvokeModel, whole and streamed.

Every method of every client goes through one method, ``BaseClient._make_api_call``, retries inside; what is no model
call of ``bedrock-runtime`` passes through it untouched. Nothing is read before the application reads it: bodies and
event streams stay the SDK's own objects, and are looked at as they are read.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import time_ns
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _attempts as attempts
from spanledger.instrumentation import _bedrock as bedrock
from spanledger.instrumentation import _bedrock_answers as answers
from spanledger.instrumentation._answer import Answer, Endpoint, StreamReader
from spanledger.instrumentation._attributes import ERROR_TYPE
from spanledger.instrumentation._bodies import MAX_DOCUMENT_BYTES, document_of
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._hooks import MethodHooks
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, integer, text
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._streams import watch
from spanledger.semconv import names

_SERVICE: Final = "bedrock-runtime"
_INVOKES: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {kind: replace(bedrock.INVOKE, operation=kind) for kind in bedrock.INVOKE_OPERATIONS}
)
_NEEDS_RETRY: Final = ("attempts", "operation_model", "request_dict", "response", "caught_exception")
_STREAMS: Final = frozenset(["ConverseStream", "InvokeModelWithResponseStream"])


def _find(operation: str, request: Mapping[str, Any]) -> Endpoint | None:
    if operation in ("Converse", "ConverseStream"):
        return bedrock.CONVERSE
    if operation in ("InvokeModel", "InvokeModelWithResponseStream"):
        return _INVOKES[bedrock.invoke_operation(text(request.get("modelId")), request.get("body"))]
    return None


@dataclass(frozen=True, slots=True)
class Botocore:
    """The SDK as the runtime knows it."""

    name: str = "botocore"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch the imported SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = str(getattr(sys.modules.get("botocore"), "__version__", "?"))
        patches = Patches()
        hooks = ClientHooks(self.name, version, recorder, problems, patches)
        hooks.wrap(module, "BaseClient", "_make_api_call", hooks.around)
        hooks.wrap(sys.modules.get("botocore.endpoint"), "Endpoint", "_needs_retry", hooks.after_attempt)
        return patches


class ClientHooks(MethodHooks):
    """The wrappers of a client's one method, ``(operation_name, api_params)``, and what is done with an answer."""

    def start(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        if instance.meta.service_model.service_name != _SERVICE:
            return None
        operation = args[0] if args else kwargs["operation_name"]
        request = fields(args[1] if len(args) > 1 else kwargs["api_params"])
        endpoint = _find(operation, request)
        if endpoint is None:
            return None
        body = {**request, "model": request.get("modelId"), "stream": operation in _STREAMS}
        return self.recorder.begin(endpoint, instance, self._facts(instance), body)

    def after_attempt(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Whether another attempt follows the one that just ended; if so, the SDK has waited before it says so."""
        ended_ns = time_ns()
        is_followed = wrapped(*args, **kwargs)
        if is_followed:
            self.in_attempts(_note_attempt, args, kwargs, ended_ns)
        return is_followed

    async def after_attempt_async(
        self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        ended_ns = time_ns()
        is_followed = await wrapped(*args, **kwargs)
        if is_followed:
            self.in_attempts(_note_attempt, args, kwargs, ended_ns)
        return is_followed

    def _facts(self, client: Any) -> ClientFacts:
        # Temporary credentials are refreshed when they are looked at, and their key changes: they are left alone.
        signer = client.__dict__.get("_request_signer")
        credentials = fields(fields(signer).get("_credentials"))
        return self.facts_at(
            client,
            base_url=text(client.meta.endpoint_url),
            credential=credentials.get("access_key"),
            platform="aws_bedrock",
            wire="aws_bedrock",
        )

    def read_error(self, call: Call, error: BaseException, _told: Any) -> None:
        response = fields(getattr(error, "response", None))
        self._heard(call, response)
        call.fail(error, code=text(fields(response.get("Error")).get("Code")))

    def read_answer(self, call: Call, answer: Any, _told: Any) -> Any:
        known = fields(answer)
        headers = self._heard(call, known)
        if call.is_stream:
            self._watch_events(call, known.get("stream", known.get("body")))
        elif "body" in known:
            self._watch_body(call, known["body"], headers)
        else:
            self.finish(call, answer)
        return answer

    def _heard(self, call: Call, response: Mapping[str, Any]) -> Mapping[str, str]:
        """Keep status and request id; returns the headers, names in lower case."""
        told = fields(response.get("ResponseMetadata"))
        status = told.get("HTTPStatusCode")
        call.status_code = status if isinstance(status, int) else None
        call.resends = integer(told.get("RetryAttempts")) or 0
        if request_id := text(told.get("RequestId")):
            call.headers = {names.REQUEST_ID: request_id}
        headers: Mapping[str, str] = told.get("HTTPHeaders") or {}
        return headers

    def _watch_events(self, call: Call, stream: Any) -> None:
        known: dict[str, Any] = stream.__dict__
        if "_event_generator" not in known:
            self.missing(f"{type(stream).__name__}._event_generator")
            call.finish()
            return
        captures = self.recorder.settings.capture_content
        is_converse = call.endpoint is bedrock.CONVERSE
        reader = (answers.new_converse_reader if is_converse else answers.new_chunk_reader)(False, captures)
        alive = weakref.ref(call)
        reader.on_error = lambda: _end(alive, Call.finish)
        call.reader = reader
        known["_event_generator"] = self._watched(known["_event_generator"], call, reader)
        end_with_close(stream, alive)

    def _watched(self, events: Any, call: Call, reader: StreamReader) -> Any:
        return watch(events, call, reader)

    def _watch_body(self, call: Call, body: Any, headers: Mapping[str, str]) -> None:
        _watch_body(call, body, headers)


def _note_attempt(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any], ended_ns: int) -> None:
    """The arguments are ``(attempts, operation, request, response, error)``; a response is HTTP's and a parsed one."""
    asked = {**dict(zip(_NEEDS_RETRY, args, strict=False)), **kwargs}
    response, error = asked.get("response"), asked.get("caught_exception")
    if response is None:
        attempts.note(call, attempts.raised(error), ended_ns)
        return
    told = fields(fields(response[1]).get("ResponseMetadata"))
    found: dict[str, Any] = {ERROR_TYPE: text(fields(fields(response[1]).get("Error")).get("Code")) or "retried"}
    if (status := integer(told.get("HTTPStatusCode"))) is not None:
        found[names.HTTP_STATUS] = status
    if request_id := text(told.get("RequestId")):
        found[names.REQUEST_ID] = request_id
    attempts.note(call, found, ended_ns)


def _end(alive: weakref.ref[Call], how: Callable[[Call], None]) -> None:
    if (call := alive()) is not None:
        how(call)


def end_with_close(stream: Any, alive: weakref.ref[Call]) -> None:
    """End the call when the application closes what it reads from, if it has not ended."""
    methods: Any = stream.__class__
    itself = weakref.ref(stream)

    def close() -> None:
        _end(alive, Call.abandon)
        if (open_stream := itself()) is not None:
            methods.close(open_stream)

    stream.__dict__["close"] = close


class BodyReader:
    """Reads an InvokeModel body, and what Bedrock's headers say when the application did not read the body."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        length = headers.get("content-length", "")
        self._expected = int(length) if length.isdecimal() else -1
        self._parts: list[bytes] = []
        self._bytes = 0

    def feed(self, data: Any) -> bool:
        self._bytes += len(data)
        if self._bytes <= MAX_DOCUMENT_BYTES:
            self._parts.append(bytes(data))
        else:
            self._parts.clear()
        return False

    def has_ended(self, amt: int | None, data: bytes) -> bool:
        """Whether ``read(amt)``, which gave ``data``, gave the last of the body."""
        return amt is None or amt < 0 or (not data and amt > 0) or self._bytes == self._expected

    def answer(self, *, is_complete: bool) -> Answer:
        answer = answers.read_body(document_of(b"".join(self._parts)) if is_complete else {}, self._headers)
        if not is_complete:
            answer.notes = (*answer.notes, "body_not_read")
            answer.is_partial = not answer.usage
        return answer


def _watch_body(call: Call, body: Any, headers: Mapping[str, str]) -> None:
    """Look at the HTTP response inside a ``StreamingBody`` as it is read; the call ends with its last byte.

    The body is left on the wire: a connection that breaks is met by the application where it always was. All ways of
    reading come down to ``read`` of the HTTP response.
    """
    call.reader = reader = BodyReader(headers)
    raw: Any = fields(body).get("_raw_stream")
    if not hasattr(raw, "__dict__"):  # a stub's: bytes in memory
        call.notes = (*call.notes, "body_not_read")
        call.finish()
        return
    methods: Any = raw.__class__
    # Not the response itself: it would keep itself, and the call, from being freed at once.
    itself = weakref.ref(raw)

    def read(amt: int | None = None, *args: Any, **kwargs: Any) -> Any:
        try:
            data = methods.read(itself(), amt, *args, **kwargs)
        except BaseException as error:
            call.fail(error)
            raise
        if call.is_open:
            try:
                reader.feed(data)
            except Exception as error:  # noqa: BLE001 - the boundary: the application gets its body
                call.stop_reading(error)
            if reader.has_ended(amt, data):
                call.finish()
        return data

    raw.__dict__["read"] = read
    end_with_close(raw, weakref.ref(call))


BOTOCORE: Final = Botocore()
