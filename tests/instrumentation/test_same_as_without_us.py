"""Same types, values, exceptions and wire requests with the instrumentation and without, SDK by SDK.

Each case makes one round of calls: an answer, a refusal, a stream, and a request that the SDK itself refuses.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aws_wire import event

pytestmark = pytest.mark.filterwarnings("ignore")  # what the SDKs warn of, also without us
_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT")
_VARYING = ("date", "host", "authorization", "x-amz-date", "amz-sdk", "idempotency")
REFUSED = {"message": "slow down", "error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}


def plain(value: Any) -> Any:
    """A value by its fields, without the moment in which it was made."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    return _DATE.sub("-", repr(value))


class Seen:
    """Everything that a caller can see."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self.found: list[Any] = []

    async def once(self, make: Callable[[], Any], *replies: Any, body: bool = False) -> None:
        self._provider.replies += replies
        try:
            got = make()
            got = await got if inspect.isawaitable(got) else got
        except Exception as error:
            self.found.append((type(error), plain(str(error)), getattr(error, "status_code", None)))
            return
        if body:
            self.found.append((type(got["body"]), got["body"].read()))
        else:
            self.found.append((type(got), plain(got)))

    async def stream(self, make: Callable[[], Any], reply: Any, *, inside: str = "") -> None:
        self._provider.replies.append(reply)
        got = make()
        got = await got if inspect.isawaitable(got) else got
        chunks = got[inside] if inside else got
        self.found.append(type(chunks))
        if hasattr(chunks, "__aiter__"):
            self.found += [(type(chunk), plain(chunk)) async for chunk in chunks]
        else:
            self.found += [(type(chunk), plain(chunk)) for chunk in chunks]

    def requests(self) -> list[Any]:
        made = [
            (one.method, one.path, one.body, {n: v for n, v in one.headers.items() if not n.startswith(_VARYING)})
            for one in self._provider.requests
        ]
        self._provider.requests.clear()
        return made


async def google_genai(see: Seen, url: str, reply: Any, is_async: bool) -> None:
    genai: Any = pytest.importorskip("google.genai")
    client = genai.Client(api_key="none", http_options={"base_url": url})
    models = client.aio.models if is_async else client.models
    asked = {"model": "gemini-2.5-flash", "contents": "Why?"}
    said = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Rayleigh."}]}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 1200, "candidatesTokenCount": 70, "totalTokenCount": 1270},
        "modelVersion": "gemini-2.5-flash-001",
    }
    await see.once(lambda: models.generate_content(**asked), reply(said))
    await see.once(lambda: models.generate_content(**asked), reply(REFUSED, status=429))
    await see.stream(lambda: models.generate_content_stream(**asked), reply(events=[said, said]))
    await see.once(lambda: models.generate_content(model="gemini-2.5-flash"))
    await client.aio.aclose()
    client.close()


async def botocore(see: Seen, url: str, reply: Any, _is_async: bool) -> None:
    session: Any = pytest.importorskip("botocore.session")
    config: Any = importlib.import_module("botocore.config")
    client = session.Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        config=config.Config(retries={"max_attempts": 1}),
    )
    asked = {"modelId": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": [{"text": "Why?"}]}]}
    usage = {"inputTokens": 300, "outputTokens": 120, "totalTokens": 420}
    message = {"role": "assistant", "content": [{"text": "Rayleigh."}]}
    said = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 9}}
    events = [
        event("messageStart", {"role": "assistant"}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Rayleigh."}}),
        event("metadata", {"usage": usage, "metrics": {"latencyMs": 9}}),
    ]
    await see.once(lambda: client.converse(**asked), reply(said))
    await see.once(lambda: client.converse(**asked), reply(REFUSED, status=429))
    await see.stream(lambda: client.converse_stream(**asked), reply(events=events), inside="stream")
    await see.once(lambda: client.invoke_model(modelId="meta.llama3", body="{}"), reply({"generation": "R"}), body=True)
    await see.once(lambda: client.converse(messages=[]))
    client.close()


async def cohere(see: Seen, url: str, reply: Any, is_async: bool) -> None:
    sdk: Any = pytest.importorskip("cohere")
    httpx: Any = pytest.importorskip("httpx")
    limits = httpx.Limits(max_keepalive_connections=0)
    http = (httpx.AsyncClient if is_async else httpx.Client)(limits=limits, verify=False)
    client = (sdk.AsyncClientV2 if is_async else sdk.ClientV2)(api_key="none", base_url=url, httpx_client=http)
    asked = {"model": "command-r-08-2024", "messages": [{"role": "user", "content": "Why?"}]}
    usage = {"billed_units": {"input_tokens": 1000.0, "output_tokens": 100.0}}
    message = {"role": "assistant", "content": [{"type": "text", "text": "Rayleigh."}]}
    said = {"id": "chat-1", "finish_reason": "COMPLETE", "message": message, "usage": usage}
    events = [
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Rayleigh."}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
        b"data: [DONE]\n\n",
    ]
    once = {"max_retries": 0}
    await see.once(lambda: client.chat(**asked), reply(said))
    await see.once(lambda: client.chat(**asked, request_options=once), reply(REFUSED, status=429))
    await see.stream(lambda: client.chat_stream(**asked), reply(events=events))
    await see.once(lambda: client.chat(model="command-r-08-2024"))


async def mistralai(see: Seen, url: str, reply: Any, is_async: bool) -> None:
    pytest.importorskip("mistralai")
    try:
        sdk: Any = importlib.import_module("mistralai.client")
        basesdk = sdk.Mistral.__init__.__globals__  # version 1 has an empty module of this name
    except (AttributeError, ImportError):
        sdk = importlib.import_module("mistralai")
        basesdk = sdk.Mistral.__init__.__globals__
    http: Any = basesdk["httpx"]
    limits = http.Limits(max_keepalive_connections=0)
    clients = {"client": http.Client(limits=limits), "async_client": http.AsyncClient(limits=limits)}
    client = sdk.Mistral(api_key="none", server_url=url, **clients)
    complete = client.chat.complete_async if is_async else client.chat.complete
    stream = client.chat.stream_async if is_async else client.chat.stream
    asked = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Why?"}]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    named = {"id": "cmpl-1", "created": 1795000000, "model": "mistral-small-2603", "usage": usage}
    message = {"role": "assistant", "content": "Rayleigh.", "tool_calls": None}
    choice = {"index": 0, "finish_reason": "stop"}
    said = {**named, "object": "chat.completion", "choices": [{**choice, "message": message}]}
    chunk = {**named, "object": "chat.completion.chunk", "choices": [{**choice, "delta": {"content": "Rayleigh."}}]}
    await see.once(lambda: complete(**asked), reply(said))
    await see.once(lambda: complete(**asked), reply(REFUSED, status=429))
    await see.stream(lambda: stream(**asked), reply(events=[chunk, b"data: [DONE]\n\n"]))
    await see.once(lambda: complete(model=7, messages="Why?"))


Case = Callable[[Seen, str, Any, bool], Awaitable[None]]


@pytest.mark.parametrize(
    ("case", "is_async"),
    [
        (google_genai, False),
        (google_genai, True),
        (botocore, False),
        (cohere, False),
        (cohere, True),
        (mistralai, False),
        (mistralai, True),
    ],
    ids=lambda value: {False: "sync", True: "async"}.get(value) if isinstance(value, bool) else value.__name__,
)
def test_the_same_as_without_us(switch_on: Any, provider: Any, reply: Any, case: Case, is_async: bool) -> None:
    def round_of_calls() -> tuple[list[Any], list[Any]]:
        see = Seen(provider)
        asyncio.run(case(see, provider.url, reply, is_async))  # type: ignore[arg-type]
        return see.found, see.requests()

    bare, bare_requests = round_of_calls()
    telemetry = switch_on()
    ours, our_requests = round_of_calls()
    assert ours == bare
    assert our_requests == bare_requests
    assert len(bare_requests) >= 3
    assert any(isinstance(one, tuple) and issubclass(one[0], Exception) for one in bare)
    assert len(telemetry.spans()) >= len(our_requests)
