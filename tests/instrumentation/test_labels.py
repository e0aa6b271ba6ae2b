"""Labels: by environment, baggage, client and block, in threads, tasks and across services."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from llm_wire import MESSAGES, chat
from opentelemetry import baggage, context, propagate

from spanledger.instrumentation import label_client, labels

TEAM, FEATURE, USER, SESSION = "spanledger.team_id", "spanledger.feature", "user.id", "session.id"


def ask(client: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat()))
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


def labelled(telemetry: Any) -> list[dict[str, Any]]:
    """The labels of every span."""
    wanted = (TEAM, FEATURE, USER, SESSION)
    return [
        {
            name: value
            for name, value in span.attributes.items()
            if name in wanted or name.startswith("spanledger.label.")
        }
        for span in telemetry.spans()
    ]


def test_a_block(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai()
    with labels(team_id="search", feature="summaries", session_id="s1", user_id=42, tenant="acme"):
        ask(client, provider, reply)
    ask(client, provider, reply)
    assert labelled(on) == [
        {TEAM: "search", FEATURE: "summaries", SESSION: "s1", USER: "42", "spanledger.label.tenant": "acme"},
        {},
    ]


def test_inner_wins_over_outer_label_by_label(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on(
        {"SPANLEDGER_LABELS": "team_id=env, feature=env,user_id=env,stage=a%2Cb", "SPANLEDGER_SESSION_ID": "env"}
    )
    client = label_client(clients.openai(), feature="client", user_id="client", session_id="client")
    inbound = baggage.set_baggage(FEATURE, "baggage", baggage.set_baggage(TEAM, "baggage"))
    token = context.attach(inbound)
    try:
        with labels(user_id="outer", session_id="outer"), labels(session_id="inner", team_id=None, feature=""):
            ask(client, provider, reply)
    finally:
        context.detach(token)
    assert labelled(telemetry) == [
        {TEAM: "baggage", FEATURE: "client", USER: "outer", SESSION: "inner", "spanledger.label.stage": "a,b"}
    ]


def test_a_function_in_a_block(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai()

    @labels(team_id="search")
    def work() -> None:
        ask(client, provider, reply)

    work()
    work()
    assert labelled(on) == [{TEAM: "search"}, {TEAM: "search"}]


def test_threads_do_not_share_a_block(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai()
    with labels(team_id="search"):
        other = threading.Thread(target=ask, args=(client, provider, reply))
        other.start()
        other.join()
    assert labelled(on) == [{}]


def test_tasks_keep_their_own(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai("AsyncOpenAI")
    provider.replies += [reply(chat()) for _ in range(6)]

    async def work(team: str) -> None:
        with labels(feature=f"for {team}"):
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    async def run() -> None:
        tasks: list[Any] = []
        for team in "abcdef":
            with labels(team_id=team):
                tasks.append(asyncio.create_task(work(team)))
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert sorted((one[TEAM], one[FEATURE]) for one in labelled(on)) == [(team, f"for {team}") for team in "abcdef"]


def test_the_labels_at_the_start_of_a_stream_count(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    from llm_wire import chat_events

    provider.replies.append(reply(events=chat_events()))
    with labels(team_id="search"):
        stream = clients.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    with labels(team_id="somebody else"):
        list(stream)
    assert labelled(on) == [{TEAM: "search"}]


def test_copies_of_a_client_keep_its_labels(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = label_client(clients.openai(), team_id="search")
    label_client(client, feature="summaries")
    ask(client.with_options(timeout=5), provider, reply)
    ask(client.copy().with_options(timeout=5), provider, reply)
    ask(clients.openai(), provider, reply)
    assert labelled(on) == [{TEAM: "search", FEATURE: "summaries"}] * 2 + [{}]


def test_a_block_travels_to_other_services(on: Any) -> None:
    carrier: dict[str, str] = {}
    with labels(team_id="search", user_id="u 1", tenant="acme"):
        propagate.inject(carrier)
    assert set(carrier["baggage"].split(",")) == {
        "spanledger.team_id=search",
        "user.id=u+1",
        "spanledger.label.tenant=acme",
    }


def test_what_came_from_another_service_labels_calls(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    header = "spanledger.team_id=search,session.id=s1,spanledger.user_id=u1,spanledger.label.tenant=acme,color=red"
    token = context.attach(propagate.extract({"baggage": header}))
    try:
        ask(clients.openai(), provider, reply)
    finally:
        context.detach(token)
    assert labelled(on) == [{TEAM: "search", SESSION: "s1", USER: "u1", "spanledger.label.tenant": "acme"}]


def test_baggage_can_be_switched_off(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"SPANLEDGER_BAGGAGE": "off"})
    token = context.attach(baggage.set_baggage(TEAM, "stranger"))
    try:
        ask(clients.openai(), provider, reply)
    finally:
        context.detach(token)
    assert labelled(telemetry) == [{}]


def test_a_provider_is_not_told_who_its_customers_customer_is(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai()
    seen: list[dict[str, str]] = []
    send = client._client.send

    def spy(*args: Any, **kwargs: Any) -> Any:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        seen.append(carrier)
        return send(*args, **kwargs)

    client._client.send = spy
    token = context.attach(baggage.set_baggage("color", "red"))
    try:
        with labels(team_id="search", user_id="u1"):
            ask(client, provider, reply)
            after: dict[str, str] = {}
            propagate.inject(after)
    finally:
        context.detach(token)
    assert seen[0]["baggage"] == "color=red"
    assert "user.id=u1" in after["baggage"], "back again after the call"


def test_long_values_are_cut(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    with labels(team_id="x" * 1000):
        ask(clients.openai(), provider, reply)
    assert labelled(on) == [{TEAM: "x" * 256}]
