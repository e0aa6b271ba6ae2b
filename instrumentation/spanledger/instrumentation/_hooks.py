"""What is done around the methods that SDKs send requests with, alike for all of them: the call starts, the method runs
undisturbed, and what comes out of it is handed to the SDK's module. No error of ours passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from spanledger.instrumentation._answer import StreamReader
from spanledger.instrumentation._call import Call, current_call
from spanledger.instrumentation._clients import ClientFacts, facts_at
from spanledger.instrumentation._patching import Patches, Wrapper
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields
from spanledger.instrumentation._recorder import Recorder

SESSION: Final = "_spanledger_session"
"""Where a connection keeps who listens to it."""


class Hooks(ABC):
    """Runs a request of one SDK as a call. An SDK's module says what comes back from it, and what its errors mean.

    Args:
        sdk: the name of its distribution.
        version: the version that is patched.
        recorder: makes and completes the calls.
        problems: where what the SDK lacks is told, and errors of ours are counted.
        patches: keeps what was wrapped.
    """

    def __init__(self, sdk: str, version: str, recorder: Recorder, problems: Problems, patches: Patches) -> None:
        self.sdk = sdk
        self.version = version
        self.recorder = recorder
        self.problems = problems
        self.patches = patches

    @abstractmethod
    def read_answer(self, call: Call, answer: Any, told: Any, /) -> Any:
        """A request of a call, which is no longer the current one, was answered.

        Args:
            answer: what the method returned, or what it gave when awaited.
            told: what `send` was given to pass on.

        Returns:
            What the application gets: the answer, or in its place a stream that is watched.
        """

    def read_error(self, call: Call, error: BaseException, told: Any, /) -> None:
        """A request of a call raised."""
        call.fail(error)

    def begin(self, start: Callable[..., Call | None], *asked: Any) -> Call | None:
        """Start a call with ``start(*asked)``, which gives ``None`` for what is not recorded."""
        if not self.patches.is_active:
            return None
        try:
            return start(*asked)
        except Exception as error:  # noqa: BLE001 - the boundary: the request goes on unrecorded
            self.problems.ours("starting a call", error)
            return None

    def send(self, call: Call | None, wrapped: Any, args: Any, kwargs: Any, told: Any = None) -> Any:
        """Run the method that sends the request."""
        if call is None:
            return wrapped(*args, **kwargs)
        try:
            answer = wrapped(*args, **kwargs)
        except BaseException as error:
            self.failed(call, error, told)
            raise
        return self.answered(call, answer, told)

    async def send_async(self, call: Call | None, wrapped: Any, args: Any, kwargs: Any, told: Any = None) -> Any:
        """`send` for a method that is awaited."""
        if call is None:
            return await wrapped(*args, **kwargs)
        try:
            answer = await wrapped(*args, **kwargs)
        except BaseException as error:
            self.failed(call, error, told)
            raise
        return self.answered(call, answer, told)

    def failed(self, call: Call | None, error: BaseException, told: Any = None) -> None:
        """The request raised; the caller of this raises on."""
        if call is None:
            return
        try:
            self.recorder.leave(call)
            self.read_error(call, error, told)
        except Exception as ours:  # noqa: BLE001 - the boundary: the application sees the SDK's error alone
            self.problems.ours("ending a failed call", ours)

    def answered(self, call: Call, answer: Any, told: Any = None) -> Any:
        """The request was answered; returns what the application gets."""
        try:
            self.recorder.leave(call)
            return self.read_answer(call, answer, told)
        except Exception as error:  # noqa: BLE001 - the boundary: the application gets its answer
            call.notes = (*call.notes, "unreadable_answer")
            call.finish()
            self.problems.ours("ending a call", error)
            return answer

    def current(self) -> Call | None:
        """The call of this SDK whose request is being sent in this thread or task."""
        call = current_call.get()
        return call if call is not None and call.recorder is self.recorder else None

    def in_attempts(self, note: Callable[..., None], *told: Any) -> None:
        """Do ``note(call, *told)`` about an attempt of the current call, if there is one."""
        call = self.current()
        if call is not None:
            try:
                note(call, *told)
            except Exception as error:  # noqa: BLE001 - the boundary: the SDK goes on without us
                self.problems.ours("noting a failed attempt", error)

    def heard(self, connection: Any, message: Any) -> None:
        """A message came over a connection that stays open; who listens (`SESSION`) finds the calls in it."""
        session = connection.__dict__.get(SESSION)
        if session is not None and self.patches.is_active:
            try:
                session.hear(message)
            except Exception as error:  # noqa: BLE001 - the boundary: the application gets its message
                self.problems.ours("reading a message", error)

    def finish(self, call: Call, answer: Any) -> None:
        """The answer is complete: a model of the SDK, or a document."""
        call.answer = call.endpoint.read(fields(answer), captures=self.recorder.settings.capture_content)
        call.finish()

    def reader(self, call: Call) -> StreamReader:
        """A reader for the streamed answer of a call."""
        assert call.endpoint.new_reader is not None
        captures = self.recorder.settings.capture_content
        call.reader = reader = call.endpoint.new_reader(call.usage_was_asked_for, captures)
        return reader

    def facts_at(self, client: Any, *, base_url: Any, credential: Any, wire: str, platform: str = "") -> ClientFacts:
        """`facts_at` for a client of this SDK."""
        return facts_at(
            client,
            base_url=base_url,
            credential=credential,
            platform=platform,
            wire=wire,
            sdk=self.sdk,
            sdk_version=self.version,
            fingerprint_key=self.recorder.settings.fingerprint_key,
        )

    def missing(self, what: str) -> None:
        """The SDK has no such thing any more."""
        self.problems.missing(self.sdk, self.version, what)

    def wrap(self, module: Any, class_name: str, method: str, wrapper: Wrapper) -> None:
        """Wrap a method that a class of a module defines, or tell that it is missing."""
        owner = getattr(module, class_name, None)
        if owner is None or method not in vars(owner):
            self.missing(f"{class_name}.{method}")
        else:
            self.patches.wrap(owner, method, wrapper)


class MethodHooks(Hooks):
    """`Hooks` of an SDK whose requests all go through methods of one shape: the wrappers of these."""

    @abstractmethod
    def start(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Start the call that the method is asked for; ``None`` for what is not recorded."""

    def around(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.send(self.begin(self.start, instance, args, kwargs), wrapped, args, kwargs)

    async def around_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self.send_async(self.begin(self.start, instance, args, kwargs), wrapped, args, kwargs)
