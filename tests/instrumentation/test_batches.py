"""The answers of batch jobs: each is a call of its own, at half the price."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from typing import Any

import pytest
from llm_wire import CHAT_CLASSES, MESSAGE_CLASSES, RESPONSE_CLASSES, chat, message, response

from spanledger.instrumentation import labels
from spanledger.instrumentation._bodies import MAX_DOCUMENT_BYTES

BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0},
    "created_at": "2026-11-01T00:00:00Z",
    "expires_at": "2026-11-02T00:00:00Z",
    "ended_at": "2026-11-01T01:00:00Z",
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
}


def lines(reply: Any, documents: list[Any]) -> Any:
    class Lines(reply):  # type: ignore[misc]
        content_type = "application/x-jsonl"

        def body(self) -> bytes:
            return b"".join(json.dumps(document).encode() + b"\n" for document in documents)

    return Lines()


def classes(span: Any) -> dict[str, int]:
    prefix = "spanledger.usage."
    return {name.removeprefix(prefix): value for name, value in span.attributes.items() if name.startswith(prefix)}


def test_anthropics_results(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    results = [
        {"custom_id": "a", "result": {"type": "succeeded", "message": message(id="msg_a")}},
        {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "x"}}}},
        {"custom_id": "c", "result": {"type": "succeeded", "message": message(id="msg_c")}},
    ]
    provider.replies += [reply(BATCH), lines(reply, results)]
    client = clients.anthropic(f"{style.prefix}Anthropic")
    with labels(team_id="search"):
        if style.is_async:

            async def read() -> list[Any]:
                return [one async for one in await client.messages.batches.results("msgbatch_1")]

            got = asyncio.run(read())
        else:
            got = list(client.messages.batches.results("msgbatch_1"))
    assert [one.custom_id for one in got] == ["a", "b", "c"]
    spans = on.spans()
    assert [span.attributes["gen_ai.response.id"] for span in spans] == ["msg_a", "msg_c"]
    for span in spans:
        assert span.name == "chat claude-haiku-4-5-20251001"
        assert classes(span) == MESSAGE_CLASSES
        assert span.attributes["spanledger.is_batch"] is True
        assert span.attributes["spanledger.batch_id"] == "msgbatch_1"
        assert span.attributes["spanledger.cost.total"] == "0.0005925", "half of 0.001185"
        assert span.attributes["spanledger.team_id"] == "search"
    assert on.points("gen_ai.client.operation.duration") == []


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_openais_file(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any, separators: tuple[str, str]
) -> None:
    def line(number: int, status: int, body: Any) -> Any:
        answer = {"status_code": status, "request_id": f"req_{number}", "body": body}
        return {"id": f"batch_req_{number}", "custom_id": str(number), "response": answer, "error": None}

    documents = [
        line(1, 200, chat(id="chatcmpl-1")),
        line(2, 400, {"error": {"message": "no"}}),
        line(3, 200, response(id="resp_3")),
    ]

    class File(reply):  # type: ignore[misc]
        content_type = "application/octet-stream"

        def body(self) -> bytes:
            return "\n".join(json.dumps(document, separators=separators) for document in documents).encode()

    provider.replies.append(File())
    client = clients.openai(f"{style.prefix}OpenAI")
    content = style.call(lambda: client.files.content("file-1"))
    assert content.content.count(b"\n") == 2
    first, second = on.spans()
    assert (first.attributes["gen_ai.response.id"], classes(first)) == ("chatcmpl-1", CHAT_CLASSES)
    assert (second.attributes["gen_ai.response.id"], classes(second)) == ("resp_3", RESPONSE_CLASSES)
    assert first.attributes["spanledger.request_id"] == "req_1"
    assert first.attributes["spanledger.is_batch"] is True
    assert first.start_time == 1790000000 * 10**9, "when it was answered, not when it was fetched"


@pytest.mark.parametrize("chunk_size", [7, 100_000])
def test_openais_file_read_piece_by_piece(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any, chunk_size: int
) -> None:
    bodies = [chat(id="chatcmpl-1"), response(id="resp_2")]
    answers = [{"status_code": 200, "request_id": "req_1", "body": body} for body in bodies]
    documents = [{"id": f"batch_req_{n}", "custom_id": str(n), "response": answer} for n, answer in enumerate(answers)]
    provider.replies.append(lines(reply, documents))
    client = clients.openai(f"{style.prefix}OpenAI")
    if style.is_async:

        async def read() -> bytes:
            async with client.files.with_streaming_response.content("file-1") as opened:
                return b"".join([piece async for piece in opened.iter_bytes(chunk_size)])

        body = asyncio.run(read())
    else:
        with client.files.with_streaming_response.content("file-1") as opened:
            body = b"".join(opened.iter_bytes(chunk_size))
    assert body.count(b"\n") == 2
    first, second = on.spans()
    assert (first.attributes["gen_ai.response.id"], classes(first)) == ("chatcmpl-1", CHAT_CLASSES)
    assert (second.attributes["gen_ai.response.id"], classes(second)) == ("resp_2", RESPONSE_CLASSES)
    assert first.attributes["spanledger.is_batch"] is True


def test_a_large_file_of_no_lines_is_not_kept(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    class Sound(reply):  # type: ignore[misc]
        content_type = "application/octet-stream"

        def body(self) -> bytes:
            return b"\x00" * (2 * MAX_DOCUMENT_BYTES)

    provider.replies.append(Sound())
    tracemalloc.start()
    with clients.openai().files.with_streaming_response.content("file-1") as opened:
        read = sum(len(piece) for piece in opened.iter_bytes())
        kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == 2 * MAX_DOCUMENT_BYTES
    assert kept < 3 * MAX_DOCUMENT_BYTES, "the body that the provider sends is 2 of them"
    assert on.spans() == []


def test_other_files_are_left_alone(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies += [lines(reply, [{"id": "x"}]), reply({"error": {"message": "gone"}}, status=404)]
    client = clients.openai()
    assert client.files.content("file-1").content == b'{"id": "x"}\n'
    with pytest.raises(Exception, match="404"):
        client.files.content("file-2")
    assert on.spans() == []


def test_a_response_that_cannot_be_looked_up_is_no_call(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai()
    if not hasattr(client, "responses"):
        pytest.skip("this SDK has no Responses API")
    provider.replies.append(reply({"error": {"message": "gone"}}, status=404))
    with pytest.raises(Exception, match="404"):
        client.responses.retrieve("resp_1")
    assert on.spans() == []


# A dropped reader of results is a reference cycle in older SDKs: its socket may be collected before it is closed.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_results_that_are_left_early(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    results = [
        {"custom_id": name, "result": {"type": "succeeded", "message": message(id=f"msg_{name}")}} for name in "abc"
    ]
    provider.replies += [reply(BATCH), lines(reply, results)]
    for _ in clients.anthropic().messages.batches.results("msgbatch_1"):
        break
    gc.collect()
    assert [span.attributes["gen_ai.response.id"] for span in on.spans()] == ["msg_a"], "what was seen"
