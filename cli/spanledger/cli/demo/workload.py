"""What ``spanledger demo`` runs under ``opentelemetry-instrument``: three teams and their calls, with the real SDKs.

Plain application code: it imports the SDKs and names team and feature, nothing else. Clients find the fake provider
through ``OPENAI_BASE_URL`` and ``ANTHROPIC_BASE_URL``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final

ROUNDS: Final = 4
RULES: Final = "You answer questions about invoices. House rules: be exact, name the sum, name the month. " * 60
TOOL: Final[dict[str, Any]] = {
    "name": "search_ledger",
    "description": "Search the ledger for spend.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}


def _ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def support(openai: Any, anthropic: Any) -> None:
    """Chat with a cached system prompt, a tool round trip, and a streamed answer."""
    from spanledger.instrumentation import labels

    with labels(team_id="support", feature="chat"):
        for number in range(ROUNDS):
            system = [{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}}]
            question = _ask(f"Why did invoice {number % 2} grow?")
            anthropic.messages.create(model="claude-sonnet-5", max_tokens=900, system=system, messages=question)
            with anthropic.messages.stream(
                model="claude-haiku-4-5", max_tokens=400, messages=_ask(f"Summarise case {number}.")
            ) as stream:
                for _ in stream.text_stream:
                    pass
    with labels(team_id="support", feature="triage"):
        for number in range(ROUNDS):
            question = _ask(f"Which team owns case {number}?")
            tools = [{"type": "function", "function": TOOL}]
            asked = openai.chat.completions.create(model="gpt-4.1-mini", messages=question, tools=tools)
            call = asked.choices[0].message.tool_calls[0]
            answer = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"team": "billing"})}
            openai.chat.completions.create(
                model="gpt-4.1-mini", messages=[*question, asked.choices[0].message, answer], tools=tools
            )


def search(openai: Any) -> None:
    """Embeddings, a reasoning model, and streams with and without usage asked for."""
    from spanledger.instrumentation import labels

    with labels(team_id="search", feature="index"):
        for number in range(ROUNDS):
            openai.embeddings.create(model="text-embedding-3-small", input=[f"page {number}", f"page {number + 100}"])
    with labels(team_id="search", feature="answers"):
        for number in range(ROUNDS):
            openai.responses.create(model="gpt-5-mini", input=f"Rank the answers to question {number}.")
            for options in ({}, {"stream_options": {"include_usage": True}}):
                question = _ask(f"Answer question {number}.")
                for _ in openai.chat.completions.create(model="gpt-4o", messages=question, stream=True, **options):
                    pass
            with openai.responses.stream(model="gpt-5", input=f"Explain answer {number}.") as stream:
                for _ in stream:
                    pass


async def platform() -> None:
    """Many calls at once, some of which the provider refuses and the SDK repeats."""
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI, RateLimitError

    from spanledger.instrumentation import labels

    async with AsyncOpenAI(max_retries=0) as openai, AsyncAnthropic() as anthropic:
        with labels(team_id="platform", feature="nightly-summary"):
            await asyncio.gather(
                *(
                    openai.chat.completions.create(model="gpt-4o-mini", messages=_ask(f"Summarise day {number}."))
                    for number in range(ROUNDS)
                ),
                *(
                    anthropic.messages.create(
                        model="claude-haiku-4-5",
                        max_tokens=300,
                        messages=_ask(f"Summarise night {number}."),
                        extra_headers={"x-fake": json.dumps({"status": 529, "times": 1, "key": f"night{number}"})},
                    )
                    for number in range(2)
                ),
            )
        with labels(team_id="platform", feature="code-review"), contextlib.suppress(RateLimitError):
            await openai.chat.completions.create(
                model="gpt-4o", messages=_ask("Review this."), extra_headers={"x-fake": '{"status": 429}'}
            )


def main() -> None:
    """Run everything once."""
    from anthropic import Anthropic
    from openai import OpenAI

    with OpenAI() as openai, Anthropic() as anthropic:
        support(openai, anthropic)
        search(openai)
    asyncio.run(platform())


if __name__ == "__main__":
    main()
