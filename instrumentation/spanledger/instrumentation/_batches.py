"""The answers of batch jobs, read while the application reads them: each is a call of its own, at the batch's rates.

Anthropic gives them one by one (``messages.batches.results``), OpenAI as a file (``files.content``). Reading them again
makes the same spans again; their response ids let the ledger count each once.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._reading import fields, integer, text

Item = tuple[Endpoint, Answer, int]
"""How to read an answer's usage, the answer, and when the call was made (ns since the epoch; 0: now)."""

_OPENAI_LINE: Final = b'{"id": "batch_req_'
_OPENAI_LINE_COMPACT: Final = b'{"id":"batch_req_'


def watch_items(inner: Iterator[Any], call: Call, read_item: Callable[[Any], Item | None]) -> Iterator[Any]:
    """Pass the items of a list through, and record each that is a call."""
    try:
        for item in inner:
            record_item(call, read_item, item)
            yield item
    finally:
        call.finish()


async def watch_items_async(
    inner: AsyncIterator[Any], call: Call, read_item: Callable[[Any], Item | None]
) -> AsyncIterator[Any]:
    """`watch_items` for asynchronous lists."""
    try:
        async for item in inner:
            record_item(call, read_item, item)
            yield item
    finally:
        call.finish()


def record_item(call: Call, read_item: Callable[[Any], Item | None], item: Any) -> None:
    """Record an item that the request `call` brought, if it is a call; errors of ours stay here."""
    try:
        found = read_item(item)
        if found is not None:
            call.recorder.witness(call, *found)
    except Exception as error:  # noqa: BLE001 - the boundary: the application gets its item
        call.recorder.failed("reading an answer of a batch", error)


def openai_items(body: bytes, endpoints: Mapping[str, Endpoint]) -> Iterator[Item]:
    """The answers in a downloaded file, if it is a batch's output; nothing for any other file.

    Args:
        body: the file.
        endpoints: by ``object`` of the answers.
    """
    if not body.startswith((_OPENAI_LINE, _OPENAI_LINE_COMPACT)):
        return
    for line in body.splitlines():
        found = openai_item("", line, endpoints) if line.strip() else None
        if found is not None:
            yield found


def openai_item(_path: str, line: bytes, endpoints: Mapping[str, Endpoint]) -> Item | None:
    """The answer in a line of a batch's output; ``None`` for a line of any other file, and for what failed."""
    if not line.startswith((_OPENAI_LINE, _OPENAI_LINE_COMPACT)):
        return None
    response = fields(fields(json.loads(line)).get("response"))
    answered = fields(response.get("body"))
    endpoint = endpoints.get(text(answered.get("object")))
    if response.get("status_code") != 200 or endpoint is None:
        return None  # what failed is not billed
    answer = endpoint.read_response(answered)
    answer.is_batch = True
    answer.request_id = text(response.get("request_id"))
    created = integer(answered.get("created")) or integer(answered.get("created_at")) or 0
    return endpoint, answer, created * 1_000_000_000
