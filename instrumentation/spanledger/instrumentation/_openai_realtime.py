"""OpenAI's connections that stay open (Realtime, and Responses over a WebSocket): each response on one is a call, and
so is each transcription of what was heard, which another model makes.

The server tells of a response when it starts and when it is done; its usage comes with the end and "will correspond to
billing" (https://platform.openai.com/docs/api-reference/realtime-server-events/response/done).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter_ns
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _openai_media as media
from spanledger.instrumentation import _openai_responses as responses
from spanledger.instrumentation._answer import Answer, Endpoint, StreamReader
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import facts_of
from spanledger.instrumentation._hooks import SESSION, Hooks
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, text
from spanledger.instrumentation._recorder import Recorder

_REALTIME: Final = "Realtime"
MODULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "openai.resources.realtime.realtime": _REALTIME,
        "openai.resources.beta.realtime.realtime": _REALTIME,
        "openai.resources.beta.responses.responses": "Responses",
    }
)
"""By module, what its classes of connections are called after."""

_STARTS: Final = "response.created"
_ENDS: Final = frozenset(["response.done", "response.completed", "response.incomplete", "response.failed"])
_SESSIONS: Final = frozenset(["session.created", "session.updated"])
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
_MAX_OPEN: Final = 64


class _DoneReader:
    """Reads a response of a Realtime session, which names no model: the session does."""

    __slots__ = ("_captures", "_id", "_model", "_response")

    def __init__(self, model: str, captures: bool) -> None:
        self._model = model
        self._captures = captures
        self._id = ""
        self._response: Mapping[str, Any] = {}

    def feed(self, event: Any) -> bool:
        self._response = fields(fields(event).get("response"))
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        known = self._response
        answer = responses.RESPONSES.read(known, captures=self._captures and is_complete)
        answer.model = self._model
        if answer.error_type:
            error = fields(fields(known.get("status_details")).get("error"))
            answer.error_type = text(error.get("code")) or text(error.get("type")) or answer.error_type
        if not is_complete:
            answer.is_partial = True
            answer.notes = (*answer.notes, "stream_ended_early")
        return answer


_RESPONSE: Final = replace(responses.RESPONSES, input_messages=None, tool_results=None)
_SPOKEN: Final = replace(_RESPONSE, attributes=MappingProxyType({}))


class _Session:
    """What is known about one connection, and its responses that are not done.

    Args:
        hooks: record what it tells.
        client: the client that it was opened with.
        model: the model that it was opened for, or ``""``.
        is_spoken: it is a Realtime session.
    """

    def __init__(self, hooks: _Hooks, client: Any, model: str, *, is_spoken: bool) -> None:
        self._hooks = hooks
        self._client = client
        self._asked = model
        self._model = model
        self._transcriber = ""
        self._is_spoken = is_spoken
        self._open: dict[str, Call] = {}

    def hear(self, event: Any) -> None:
        """Look at an event of the server."""
        kind = text(getattr(event, "type", None)) or text(fields(event).get("type"))
        if kind.endswith(".delta"):
            self._piece(event)
        elif kind == _STARTS:
            self._start(fields(fields(event).get("response")))
        elif kind in _ENDS:
            self._end(event)
        elif kind in _SESSIONS:
            self._configured(fields(fields(event).get("session")))
        elif kind == _TRANSCRIBED:
            self._transcribed(fields(event))

    def close(self) -> None:
        """Nothing more will be read."""
        while self._open:
            self._open.popitem()[1].abandon()

    def _start(self, response: Mapping[str, Any]) -> None:
        identifier = text(response.get("id"))
        model = self._asked or text(response.get("model")) or self._model
        if not identifier:
            return
        call = self._begin(_SPOKEN if self._is_spoken else _RESPONSE, {"model": model, "stream": True})
        if call is None:
            return
        captures = self._hooks.recorder.settings.capture_content
        reader: StreamReader = (
            _DoneReader(self._model, captures) if self._is_spoken else responses.ResponseReader(False, captures)
        )
        call.reader = reader
        reader.feed({"type": _STARTS, "response": response})
        while len(self._open) >= _MAX_OPEN:
            self._open.pop(next(iter(self._open))).abandon()
        self._open[identifier] = call

    def _piece(self, event: Any) -> None:
        call = self._open.get(text(getattr(event, "response_id", None)))
        if call is None and len(self._open) == 1:
            call = next(iter(self._open.values()))
        if call is not None and not call.first_chunk_ns:
            call.first_chunk_ns = perf_counter_ns()

    def _end(self, event: Any) -> None:
        response = fields(fields(event).get("response"))
        identifier = text(response.get("id"))
        if identifier not in self._open:
            self._start(response)  # whose start nobody read
        call = self._open.pop(identifier, None)
        if call is not None and call.reader is not None:
            call.reader.feed(event)
            call.finish()

    def _configured(self, session: Mapping[str, Any]) -> None:
        self._model = text(session.get("model")) or self._model
        heard = fields(fields(session.get("audio")).get("input")).get("transcription")
        chosen = fields(heard or session.get("input_audio_transcription"))
        self._transcriber = text(chosen.get("model")) or self._transcriber

    def _transcribed(self, event: Mapping[str, Any]) -> None:
        call = self._begin(media.TRANSCRIPTIONS, {"model": self._transcriber})
        if call is not None:
            answer = media.TRANSCRIPTIONS.read_response(event)
            answer.id = text(event.get("item_id"))
            call.answer = answer
            call.finish()

    def _begin(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Call | None:
        call = self._hooks.begin(self._hooks.start, endpoint, self._client, body)
        if call is not None:
            self._hooks.recorder.leave(call)
        return call


class _Hooks(Hooks):
    """The wrappers of a module's managers, which open connections, and of the connections."""

    is_spoken = False

    def start(self, endpoint: Endpoint, client: Any, body: Mapping[str, Any]) -> Call | None:
        facts = facts_of(
            client,
            wire="openai",
            sdk=self.sdk,
            sdk_version=self.version,
            fingerprint_key=self.recorder.settings.fingerprint_key,
        )
        return self.recorder.begin(endpoint, client, facts, body)

    def read_answer(self, call: Call, answer: Any, told: Any, /) -> Any:
        return answer  # nothing is sent through methods here

    def entered(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        connection = wrapped(*args, **kwargs)
        self._opened(instance, connection)
        return connection

    async def entered_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        connection = await wrapped(*args, **kwargs)
        self._opened(instance, connection)
        return connection

    def _opened(self, manager: Any, connection: Any) -> None:
        """Keep with a connection whose it is; a manager keeps that in private attributes."""
        if not self.patches.is_active:
            return
        try:
            own = f"_{type(manager).__name__}__"
            known = fields(manager)
            session = _Session(self, known[f"{own}client"], text(known.get(f"{own}model")), is_spoken=self.is_spoken)
            connection.__dict__[SESSION] = session
        except Exception as error:  # noqa: BLE001 - the boundary: the connection is there all the same
            self.problems.ours("looking at a connection", error)

    def parsed(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        event = wrapped(*args, **kwargs)
        self.heard(instance, event)
        return event

    def closing(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = instance.__dict__.get(SESSION)
        if session is not None:
            session.close()
        return wrapped(*args, **kwargs)


def patch(module: Any, sdk: str, version: str, recorder: Recorder, problems: Problems) -> Patches:
    """Patch one of `MODULES`, which was imported."""
    patches = Patches()
    hooks = _Hooks(sdk, version, recorder, problems, patches)
    subject = MODULES[module.__name__]
    hooks.is_spoken = subject == _REALTIME
    for prefix, enter, entered in (("", "__enter__", hooks.entered), ("Async", "__aenter__", hooks.entered_async)):
        connection = getattr(module, f"{prefix}{subject}Connection", None)
        if connection is None:
            hooks.missing(f"{prefix}{subject}Connection")
            continue
        for method in (enter, "enter"):
            hooks.wrap(module, f"{prefix}{subject}ConnectionManager", method, entered)
        for method, wrapper in (("parse_event", hooks.parsed), ("close", hooks.closing)):
            if not patches.wrap_inherited(connection, method, wrapper):
                hooks.missing(f"{prefix}{subject}Connection.{method}")
    return patches
