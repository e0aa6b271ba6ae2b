"""The Responses API: direct, streamed, parsed, in the background."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from llm_wire import RESPONSE_CLASSES, RESPONSE_USAGE, response, response_events

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this SDK has no Responses API")

# An SDK stream that is dropped unread is a reference cycle: its socket may be collected before its generator closes it.
drops_a_socket = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
REQUEST: dict[str, Any] = {"model": "gpt-4o", "input": "Why is the sky blue?"}


def test_a_response(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(response()))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(
        lambda: client.responses.create(
            **REQUEST, max_output_tokens=500, reasoning={"effort": "low"}, previous_response_id="resp_0"
        )
    )
    assert on.span().name == "chat gpt-4o"
    assert on.usage() == RESPONSE_CLASSES
    attributes = on.attributes()
    wanted = {
        "openai.api.type": "responses",
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.status": "completed",
        "gen_ai.request.max_tokens": 500,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.request.previous_response.id": "resp_0",
        # 500 x 2.50 + 400 x 1.25 + 70 x 10.00 USD a million; nothing was written to the cache
        "spanledger.cost.total": "0.00245",
    }
    assert {name: attributes.get(name) for name in wanted} == wanted


def test_a_stream(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=response_events()))
    client = clients.openai(f"{style.prefix}OpenAI")
    chunks = style.chunks(lambda: client.responses.create(**REQUEST, stream=True))
    assert [one.type for one in chunks][-1] == "response.completed"
    assert "stream_options" not in provider.requests[0].body
    assert on.usage() == RESPONSE_CLASSES
    assert on.attributes()["gen_ai.response.time_to_first_chunk"] > 0


@drops_a_socket
def test_a_stream_left_early_names_its_response(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=response_events(), waits_after=3))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.chunks(lambda: client.responses.create(**REQUEST, stream=True), 2)
    gc.collect()
    assert on.usage() == {"partial": True}
    assert on.attributes()["gen_ai.response.id"] == "resp_1"
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)


def test_the_stream_helper(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=response_events()))
    client = clients.openai(f"{style.prefix}OpenAI")
    if style.is_async:

        async def read() -> Any:
            async with client.responses.stream(**REQUEST) as opened:
                return await opened.get_final_response()

        final = asyncio.run(read())
    else:
        with client.responses.stream(**REQUEST) as opened:
            final = opened.get_final_response()
    assert final.output_text == "Rayleigh."
    assert on.usage() == RESPONSE_CLASSES


def test_structured_output(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    from pydantic import BaseModel

    class Sky(BaseModel):
        color: str

    document = response()
    document["output"][0]["content"][0]["text"] = '{"color": "blue"}'
    provider.replies.append(reply(document))
    client = clients.openai(f"{style.prefix}OpenAI")
    parsed = style.call(lambda: client.responses.parse(**REQUEST, text_format=Sky))
    assert parsed.output_parsed == Sky(color="blue")
    assert on.usage() == RESPONSE_CLASSES


def test_in_the_background(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    running = response(status="queued", background=True, usage=None, output=[])
    provider.replies += [
        reply(running),
        reply({**running, "status": "in_progress"}),
        reply(response(background=True)),
    ]
    client = clients.openai(f"{style.prefix}OpenAI")

    async def both() -> None:
        await client.responses.create(**REQUEST, background=True)
        await client.responses.retrieve("resp_1")
        await client.responses.retrieve("resp_1")

    if style.is_async:
        asyncio.run(both())
    else:
        client.responses.create(**REQUEST, background=True)
        client.responses.retrieve("resp_1")
        client.responses.retrieve("resp_1")
    started, polled = on.spans()
    assert started.attributes["gen_ai.response.status"] == "queued"
    assert "spanledger.usage.output_text" not in started.attributes
    assert polled.name == "chat gpt-4o-2024-08-06"
    assert polled.attributes["spanledger.usage.output_text"] == 50
    assert {span.attributes["gen_ai.response.id"] for span in (started, polled)} == {"resp_1"}


def test_looking_up_an_old_response_is_no_call(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(response()))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(lambda: client.responses.retrieve("resp_1"))
    assert on.spans() == []
    assert on.points("gen_ai.client.operation.duration") == []


def test_tools(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    output = [
        {"type": "function_call", "id": "fc_1", "call_id": "call_2", "name": "weather", "arguments": '{"city":"Lyon"}'},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "web_search_call", "id": "ws_2", "status": "completed", "action": {"type": "open_page", "url": "x"}},
        {
            "type": "mcp_call",
            "id": "mcp_1",
            "server_label": "s",
            "name": "look",
            "arguments": "{}",
            "output": "seen",
            "error": None,
        },
    ]
    provider.replies.append(reply(response(output=output)))
    asked = [
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "19"},
    ]
    clients.openai().responses.create(model="gpt-4o", input=asked)
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "weather", "id": "call_1", "kind": "result", "output_bytes": 2},
        {"name": "weather", "id": "call_2", "kind": "use", "input_bytes": 15},
        {"name": "look", "id": "mcp_1", "kind": "use", "is_error": False, "input_bytes": 2, "output_bytes": 4},
    ]
    assert on.usage() == {**RESPONSE_CLASSES, "count.web_searches": 1}


def test_the_providers_own_count_of_searches_wins(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    call = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
    document = response(output=[call] * 3, tool_usage={"image_gen": None, "web_search": {"num_requests": 2}})
    provider.replies.append(reply(document))
    clients.openai().responses.create(**REQUEST)
    assert on.usage()["count.web_searches"] == 2


def test_a_failure_told_in_the_answer(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    document = response(status="failed", error={"code": "server_error", "message": "x"}, usage=RESPONSE_USAGE)
    provider.replies.append(reply(document))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(lambda: client.responses.create(**REQUEST))
    assert on.span().status.status_code.name == "ERROR"
    assert on.attributes()["error.type"] == "server_error"
    assert on.usage() == RESPONSE_CLASSES, "it is billed all the same"


def test_content(switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    provider.replies.append(reply(events=response_events()))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.chunks(lambda: client.responses.create(**REQUEST, instructions="Be brief.", stream=True))
    attributes = telemetry.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}
    ]
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh."}], "finish_reason": "completed"}
    ]


@pytest.mark.skipif(not hasattr(openai.resources.beta.Beta, "responses"), reason="this SDK has no beta responses")
def test_beta_responses(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    client = clients.openai(f"{style.prefix}OpenAI")
    queued = response(status="queued", background=True, usage=None)
    provider.replies += [reply(response()), reply(queued), reply(response(id="resp_2", background=True))]
    style.call(lambda: client.beta.responses.create(**REQUEST))
    style.call(lambda: client.beta.responses.retrieve("resp_2"))
    style.call(lambda: client.beta.responses.retrieve("resp_2"))
    assert [request.path.rpartition("?")[2] for request in provider.requests] == ["beta=true"] * 3
    first, second = on.spans()
    for span, identifier in ((first, "resp_1"), (second, "resp_2")):
        assert span.attributes["gen_ai.response.id"] == identifier
        assert span.attributes["spanledger.cost.total"] == "0.00245"


@pytest.mark.skipif(not hasattr(openai.resources.beta.Beta, "responses"), reason="this SDK has no beta responses")
def test_a_beta_stream(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=response_events()))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.chunks(lambda: client.beta.responses.create(**REQUEST, stream=True))
    assert on.usage() == RESPONSE_CLASSES


@pytest.mark.parametrize("path", ["/responses", "responses", "/responses/"])
def test_a_request_that_the_application_writes_itself(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any, path: str
) -> None:
    provider.replies.append(reply(response()))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(lambda: client.post(path, body=REQUEST, cast_to=openai.types.responses.Response))
    assert on.usage() == RESPONSE_CLASSES


@pytest.mark.skipif(not hasattr(openai.OpenAI, "decisions"), reason="this SDK has no decisions")
def test_a_decision(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    answers = [{"type": "predicate", "name": "is_blue", "probability": 0.9}]
    provider.replies.append(reply({"model": "gpt-6-luna", "answers": answers, "usage": RESPONSE_USAGE}))
    client = clients.openai(f"{style.prefix}OpenAI")
    questions = [{"type": "predicate", "name": "is_blue", "question": "Is it?"}]
    style.call(lambda: client.decisions.create(model="gpt-6-luna", input="The sky", questions=questions))
    assert on.span().name == "classification gpt-6-luna"
    assert on.usage() == RESPONSE_CLASSES
    assert "openai.api.type" not in on.attributes()


def test_tools_whose_price_answers_do_not_tell(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    used = [
        {"type": "image_generation_call", "id": "i", "status": "completed", "result": "AA=="},
        {"type": "code_interpreter_call", "id": "c", "status": "completed", "container_id": "cntr_1", "code": "1"},
    ]
    provider.replies.append(reply(response(output=used)))
    clients.openai().responses.create(**REQUEST)
    counts = {"count.image_tool_calls": 1, "count.code_interpreter_uses": 1}
    assert on.usage() == {**RESPONSE_CLASSES, **counts}
    cost = {name: on.attributes().get(f"spanledger.cost.{name}") for name in ("status", "reason", "high")}
    assert cost == {"status": "bounded", "reason": "no_rate", "high": None}, "never as if the tools were free"
    assert on.attributes()["spanledger.notes"] == ("image_tool_not_counted", "code_interpreter_not_counted")
