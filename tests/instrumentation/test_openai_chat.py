"""OpenAI chat completions, completions and embeddings, without streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llm_wire import CHAT_CLASSES, CHAT_USAGE, MESSAGES, TOOL_MESSAGES, chat


def ask(clients: Any, style: Any, provider: Any, reply: Any, **request: Any) -> Any:
    provider.replies.append(reply)
    client = clients.openai(f"{style.prefix}OpenAI")
    return style.call(lambda: client.chat.completions.create(**{"model": "gpt-4o", "messages": MESSAGES, **request}))


def test_one_span_with_the_conventions_names(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    answer = ask(
        clients,
        style,
        provider,
        reply(chat(), headers={"x-request-id": "req_1", "openai-organization": "org-1", "openai-project": "proj-1"}),
        temperature=0.5,
        max_tokens=300,
        stop=["END"],
        seed=7,
    )
    assert answer.id == "chatcmpl-1"
    span = on.span()
    assert span.name == "chat gpt-4o"
    assert span.kind.name == "CLIENT"
    assert span.instrumentation_scope.name == "spanledger.instrumentation"
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 300,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.seed": 7,
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 1100,
        "gen_ai.usage.output_tokens": 230,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.reasoning.output_tokens": 30,
        "openai.api.type": "chat_completions",
        "server.address": "api.openai.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "spanledger.provider": "openai",
        "spanledger.sdk": "openai",
        "spanledger.service_tier": "default",
        "spanledger.request_id": "req_1",
        "spanledger.organization": "org-1",
        "spanledger.project": "proj-1",
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert on.usage() == CHAT_CLASSES
    assert not any("messages" in name for name in attributes), "content is off"
    assert "gen_ai.request.stream" not in attributes


def test_cost_is_exact(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    ask(clients, style, provider, reply(chat()))
    attributes = on.attributes()
    # gpt-4o: 2.50 USD a million uncached, 1.25 cached, 10.00 of output, reasoning included
    assert attributes["spanledger.cost.status"] == "list"
    assert attributes["spanledger.cost.total"] == "0.004925"
    assert attributes["gen_ai.usage.cost"] == 0.004925
    assert attributes["spanledger.cost.class.input_uncached"] == "0.0025"
    assert attributes["spanledger.cost.class.cache_read"] == "0.000125"
    assert attributes["spanledger.cost.price_id"]


def test_an_unknown_price_is_no_price(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    ask(clients, style, provider, reply(chat(model="gpt-unheard-of")), model="gpt-unheard-of")
    attributes = on.attributes()
    assert "spanledger.cost.total" not in attributes
    assert "gen_ai.usage.cost" not in attributes
    assert attributes["spanledger.cost.status"] == "unpriced"


def test_no_usage_is_unknown_not_zero(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    ask(clients, style, provider, reply(chat(usage=None)))
    assert on.usage() == {}
    assert not [name for name in on.attributes() if name.startswith(("gen_ai.usage", "spanledger.cost"))]


def test_a_usage_that_contradicts_itself_is_noted(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    usage = {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 5000}}
    ask(clients, style, provider, reply(chat(usage=usage)))
    assert on.usage() == {"input_uncached": 1100, "output_text": 200, "reasoning": 30}
    assert on.attributes()["spanledger.notes"] == ("inconsistent_usage",)


def test_the_usage_at_the_time_of_the_answer_counts(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    """Applications add one answer's usage to another's, in place."""
    provider.replies.append(reply(chat()))
    answer = clients.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES)
    answer.usage.prompt_tokens += 5000
    answer.usage.prompt_tokens_details.cached_tokens = 0
    assert on.usage() == CHAT_CLASSES


def test_tools_by_name_id_and_size(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    calls = [{"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Lyon"}'}}]
    answer = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "tool_calls": calls},
        "logprobs": None,
        "finish_reason": "tool_calls",
    }
    ask(clients, style, provider, reply(chat(choices=[answer])), messages=TOOL_MESSAGES)
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "weather", "id": "call_1", "kind": "result", "output_bytes": 6},
        {"name": "weather", "id": "call_2", "kind": "use", "input_bytes": 15},
    ]
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert not any("Lyon" in str(value) or "19 °C" in str(value) for value in on.attributes().values())


def test_content_only_under_the_switch(switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only"})
    ask(clients, style, provider, reply(chat()), messages=TOOL_MESSAGES)
    attributes = telemetry.attributes()
    asked = json.loads(attributes["gen_ai.input.messages"])
    assert asked[0] == {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]}
    assert asked[1]["parts"] == [
        {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'}
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "Because of Rayleigh scattering."}],
            "finish_reason": "stop",
        }
    ]
    assert json.loads(attributes["spanledger.tool_calls"])[0]["output"] == "19 °C"


def test_an_http_error(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    import openai

    error = {"error": {"message": "You said something secret", "type": "invalid_request_error", "code": "bad_thing"}}
    with pytest.raises(openai.BadRequestError, match="something secret"):
        ask(clients, style, provider, reply(error, status=400, headers={"x-request-id": "req_9"}))
    span = on.span()
    assert span.status.status_code.name == "ERROR"
    assert span.status.description == "bad_thing"
    attributes = on.attributes()
    assert attributes["error.type"] == "BadRequestError"
    assert attributes["http.response.status_code"] == 400
    assert attributes["spanledger.request_id"] == "req_9"
    assert not any("secret" in str(value) for value in attributes.values())
    assert not span.events
    assert on.usage() == {}


def test_retries_are_one_call(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies += [
        reply({"error": {"message": "slow"}}, status=429, headers={"retry-after-ms": "1", "x-request-id": "req_1"}),
        reply(chat(), headers={"x-request-id": "req_2"}),
    ]
    client = clients.openai(f"{style.prefix}OpenAI", max_retries=2)
    style.call(lambda: client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
    assert on.attributes()["http.response.status_code"] == 200
    assert on.attributes()["spanledger.request_id"] == "req_2"
    assert on.attributes()["http.request.resend_count"] == 1
    assert len(provider.requests) == 2
    (event,) = on.span().events
    assert event.name == "spanledger.failed_attempt"
    assert event.attributes == {
        "error.type": "429",
        "http.response.status_code": 429,
        "spanledger.request_id": "req_1",
    }
    assert on.usage() == CHAT_CLASSES


def test_retries_in_vain_are_one_call(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    import openai

    provider.replies += [
        reply({"error": {"message": "slow down"}}, status=429, headers={"retry-after-ms": "1"}) for _ in range(3)
    ]
    client = clients.openai(f"{style.prefix}OpenAI", max_retries=2)
    with pytest.raises(openai.RateLimitError):
        style.call(lambda: client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
    assert on.attributes()["http.response.status_code"] == 429
    assert on.attributes()["http.request.resend_count"] == 2
    assert [event.attributes["http.response.status_code"] for event in on.span().events] == [429, 429]
    assert "spanledger.cost.total" not in on.attributes()


def test_an_attempt_that_nobody_answered(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies += [reply(cuts=True), reply(chat())]
    client = clients.openai(f"{style.prefix}OpenAI", max_retries=1)
    try:
        raise LookupError  # what the application is handling has nothing to do with it
    except LookupError:
        style.call(lambda: client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
    (event,) = on.span().events
    assert event.attributes == {"error.type": "RemoteProtocolError"}
    assert on.usage() == CHAT_CLASSES


def test_embeddings(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    document = {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 800, "total_tokens": 800},
    }
    provider.replies.append(reply(document))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(lambda: client.embeddings.create(model="text-embedding-3-small", input="x", encoding_format="float"))
    assert on.span().name == "embeddings text-embedding-3-small"
    assert on.usage() == {"input_uncached": 800}
    assert on.attributes()["spanledger.cost.total"] == "0.000016"


def test_legacy_completions(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    document = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1790000000,
        "model": "gpt-3.5-turbo-instruct",
        "choices": [{"index": 0, "text": "blue", "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }
    provider.replies.append(reply(document))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(lambda: client.completions.create(model="gpt-3.5-turbo-instruct", prompt="The sky is"))
    assert on.span().name == "text_completion gpt-3.5-turbo-instruct"
    assert on.usage() == {"input_uncached": 5, "output_text": 7}
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("length",)


def test_structured_output(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    from pydantic import BaseModel

    class Sky(BaseModel):
        color: str

    answer = chat()
    answer["choices"][0]["message"]["content"] = '{"color": "blue"}'
    provider.replies.append(reply(answer))
    client = clients.openai(f"{style.prefix}OpenAI")
    completions = client.chat.completions
    parse = completions.parse if hasattr(completions, "parse") else client.beta.chat.completions.parse
    parsed = style.call(lambda: parse(model="gpt-4o", messages=MESSAGES, response_format=Sky))
    assert parsed.choices[0].message.parsed == Sky(color="blue")
    assert on.usage() == CHAT_CLASSES
    assert on.attributes()["gen_ai.output.type"] == "json"


def test_untyped_requests_through_the_client(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat()))
    client = clients.openai(f"{style.prefix}OpenAI")
    body = {"model": "gpt-4o", "messages": MESSAGES}
    answer = style.call(lambda: client.post("/chat/completions", body=body, cast_to=object))
    assert answer["id"] == "chatcmpl-1"
    assert on.usage() == CHAT_CLASSES


def test_requests_that_are_not_billed_make_no_span(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any
) -> None:
    provider.replies.append(reply({"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "openai"}))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(lambda: client.models.retrieve("gpt-4o"))
    assert on.spans() == []


def test_the_key_is_never_written_its_fingerprint_is(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"SPANLEDGER_FINGERPRINT_KEY": "pepper"})
    for key in ("sk-one", "sk-two", "sk-one"):
        provider.replies.append(reply(chat()))
        clients.openai(api_key=key).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    found = [span.attributes["spanledger.api_key_fingerprint"] for span in telemetry.spans()]
    assert found[0] == found[2] != found[1]
    assert len(found[0]) == 16
    assert not any("sk-" in str(span.attributes) for span in telemetry.spans())


def test_a_replaced_key_or_host_is_seen(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai()
    provider.replies += [reply(chat()), reply(chat())]
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    client.api_key = "sk-other"
    client.base_url = "https://api.groq.com/openai/v1"
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    first, second = (dict(span.attributes) for span in on.spans())
    assert first["spanledger.api_key_fingerprint"] != second["spanledger.api_key_fingerprint"]
    assert (first["spanledger.provider"], second["spanledger.provider"]) == ("openai", "groq")


@pytest.mark.parametrize(
    ("base_url", "model", "billed_by", "otel_name"),
    [
        ("https://api.openai.com/v1", "gpt-4o", "openai", "openai"),
        ("https://openrouter.ai/api/v1", "openai/gpt-4o", "openrouter", "openrouter"),
        ("https://api.x.ai/v1", "grok-4", "xai", "x_ai"),
        ("https://acme.openai.azure.com/openai/v1", "gpt-4o", "azure_openai", "azure.ai.openai"),
        ("http://127.0.0.1:8000/v1", "meta-llama/Llama-3-8B", "self_hosted", "self_hosted"),
        ("http://127.0.0.1:4000", "gpt-4o", "openai", "openai"),
    ],
)
def test_the_host_tells_who_bills(
    on: Any, clients: Any, provider: Any, reply: Any, base_url: str, model: str, billed_by: str, otel_name: str
) -> None:
    provider.replies.append(reply(chat()))
    clients.openai(base_url=base_url).chat.completions.create(model=model, messages=MESSAGES)
    assert on.attributes()["spanledger.provider"] == billed_by
    assert on.attributes()["gen_ai.provider.name"] == otel_name


def test_azure_deployments(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat()))
    client = clients.openai(
        f"{style.prefix}AzureOpenAI", azure_endpoint="https://acme.openai.azure.com", api_version="2024-10-21"
    )
    style.call(lambda: client.chat.completions.create(model="my-deployment", messages=MESSAGES))
    assert provider.requests[0].path.startswith("/openai/deployments/my-deployment/chat/completions")
    attributes = on.attributes()
    assert attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert attributes["spanledger.provider"] == "azure_openai"
    assert attributes["server.address"] == "acme.openai.azure.com"
    assert attributes["gen_ai.request.model"] == "my-deployment"


def test_what_the_provider_charged_counts_as_exact(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat(model="grok-4", usage={**CHAT_USAGE, "cost_in_usd_ticks": 37756000})))
    clients.openai(base_url="https://api.x.ai/v1").chat.completions.create(model="grok-4", messages=MESSAGES)
    assert on.attributes()["spanledger.cost.status"] == "exact"
    assert on.attributes()["spanledger.cost.total"] == "0.0037756"


def test_what_a_gateway_claims_does_not(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat(usage={**CHAT_USAGE, "cost": 99.0})))
    clients.openai(base_url="http://127.0.0.1:4000").chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert on.attributes()["spanledger.cost.status"] == "list"


def test_suppressed_where_opentelemetry_says_so(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    from opentelemetry import context

    provider.replies.append(reply(chat()))
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        clients.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES)
    finally:
        context.detach(token)
    assert on.spans() == []


def test_a_span_of_the_application_is_the_parent(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    tracer = on.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("request") as parent:
        ask(clients, style, provider, reply(chat()))
    ours = next(span for span in on.spans() if span.name.startswith("chat"))
    assert ours.parent is not None
    assert ours.parent.span_id == parent.get_span_context().span_id


def test_the_span_is_current_while_the_request_is_sent(on: Any, provider: Any, reply: Any, clients: Any) -> None:
    from opentelemetry import trace

    seen: list[int] = []
    client = clients.openai()
    send = client._client.send
    client._client.send = lambda *args, **kwargs: (
        seen.append(trace.get_current_span().get_span_context().span_id),
        send(*args, **kwargs),
    )[1]
    provider.replies.append(reply(chat()))
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert seen == [on.span().get_span_context().span_id]
    assert not trace.get_current_span().get_span_context().is_valid


def test_the_modules_own_client(on: Any, clients: Any, provider: Any, reply: Any, monkeypatch: Any) -> None:
    import openai

    monkeypatch.setattr(openai, "api_key", "sk-module")
    monkeypatch.setattr(openai, "http_client", clients.openai()._client)
    monkeypatch.setattr(openai, "_client", None, raising=False)
    provider.replies += [reply(chat()), reply(chat())]
    for _ in range(2):
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    first, second = (dict(span.attributes) for span in on.spans())
    assert first["spanledger.api_key_fingerprint"] == second["spanledger.api_key_fingerprint"]
    assert first["server.address"] == "api.openai.com"
