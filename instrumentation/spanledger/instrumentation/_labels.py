"""Who a call is for: labels by process, baggage, client and block. Inner wins over outer, in this order:

environment < inbound OTel baggage < `label_client` < `labels` block < inner `labels` block.

Labels live in context variables, so that threads and tasks do not see each other's. A block also writes OTel baggage,
so that a service which is called inside it labels its own calls alike. That baggage is taken off again while a model
provider is called: a provider is not told who its customer's customer is.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

from opentelemetry import baggage, context
from opentelemetry.context import Context

from spanledger.semconv import names

MAX_VALUE_LENGTH: Final = 256
"""Longer label values are cut: labels become columns and metric labels downstream, and baggage comes from outside."""
MAX_BAGGAGE_LABELS: Final = 32

STANDARD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "team_id": names.TEAM_ID,
        "feature": names.FEATURE,
        "session_id": names.SESSION_ID,
        "user_id": names.USER_ID,
    }
)
_BAGGAGE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{name: name for name in STANDARD.values()},
        "spanledger.session_id": names.SESSION_ID,
        "spanledger.user_id": names.USER_ID,
    }
)

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_block: Final[ContextVar[Mapping[str, str]]] = ContextVar("spanledger_labels", default=_NOTHING)
_CLIENT_LABELS: Final = "_spanledger_labels"
# Where SDKs keep the object behind a client that sends its requests: google-genai (and what sends its interactions),
# cohere, mistralai.
_SENDERS: Final = (
    ("_api_client",),
    ("_api_client", "_httpx_client"),
    ("_api_client", "_async_httpx_client"),
    ("_client_wrapper", "httpx_client"),
    ("sdk_configuration",),
)


@contextmanager
def labels(
    *,
    team_id: object = None,
    feature: object = None,
    session_id: object = None,
    user_id: object = None,
    **others: object,
) -> Generator[None]:
    """Label every model call that is made inside the block, in this thread or task and in tasks started from it.

    Values are written as text; ``None`` and ``""`` leave the outer label as it is. Blocks nest: the inner one wins,
    label by label. The function that it returns can also decorate a (not async) function.

        with labels(team_id="search", feature="summaries", tenant="acme"):
            client.chat.completions.create(...)
    """
    added = attribute_names(
        {"team_id": team_id, "feature": feature, "session_id": session_id, "user_id": user_id, **others}
    )
    ours = _block.set(MappingProxyType({**_block.get(), **added}))
    carried = context.get_current()
    for name, value in added.items():
        carried = baggage.set_baggage(name, value, carried)
    theirs = context.attach(carried)
    try:
        yield
    finally:
        context.detach(theirs)
        _block.reset(ours)


@contextmanager
def labelled(added: Mapping[str, str]) -> Generator[None]:
    """Label the calls inside the block, by span attribute name: an innermost `labels` block that writes no baggage."""
    if not added:
        yield
        return
    ours = _block.set(MappingProxyType({**_block.get(), **added}))
    try:
        yield
    finally:
        _block.reset(ours)


def label_client(
    client: Any,
    *,
    team_id: object = None,
    feature: object = None,
    session_id: object = None,
    user_id: object = None,
    **others: object,
) -> Any:
    """Label every call of one SDK client, and of the copies that its ``with_options()`` and ``copy()`` make afterwards.

    Called again, it adds to what was set before. Returns the client itself.
    """
    added = attribute_names(
        {"team_id": team_id, "feature": feature, "session_id": session_id, "user_id": user_id, **others}
    )
    _set_client_labels(client, {**client_labels(client), **added})
    return client


def _set_client_labels(client: Any, labels_: Mapping[str, str]) -> None:
    known: dict[str, Any] = client.__dict__
    if _CLIENT_LABELS not in known:
        for method in ("with_options", "copy"):
            if callable(getattr(client, method, None)):
                known[method] = _labelling(client, method)
    known[_CLIENT_LABELS] = MappingProxyType(dict(labels_))
    for path in _SENDERS:
        sender: Any = client
        for step in path:
            sender = sender.__dict__.get(step) if hasattr(sender, "__dict__") else None
        if sender is not None:
            sender.__dict__[_CLIENT_LABELS] = known[_CLIENT_LABELS]


def _labelling(client: Any, method: str) -> Any:
    make_copy = getattr(client, method)

    def copy(*args: Any, **kwargs: Any) -> Any:
        made = make_copy(*args, **kwargs)
        _set_client_labels(made, client_labels(client))
        return made

    return copy


def client_labels(client: Any) -> Mapping[str, str]:
    """What `label_client` set on this client, by span attribute name."""
    known: dict[str, Any] = client.__dict__
    found: Mapping[str, str] = known.get(_CLIENT_LABELS, _NOTHING)
    return found


def block_labels() -> Mapping[str, str]:
    """What the enclosing `labels` blocks say here and now, by span attribute name."""
    return _block.get()


def attribute_names(given: Mapping[str, object]) -> dict[str, str]:
    """Span attribute names and texts for labels: ``team_id`` → ``spanledger.team_id``; unset ones are left out."""
    found: dict[str, str] = {}
    for name, value in given.items():
        text = "" if value is None else str(value)[:MAX_VALUE_LENGTH]
        if text:
            found[STANDARD.get(name) or names.LABEL_PREFIX + name] = text
    return found


def from_baggage(entries: Mapping[str, object]) -> dict[str, str]:
    """The labels among baggage entries, by span attribute name."""
    found: dict[str, str] = {}
    for key, value in entries.items():
        name = _BAGGAGE_NAMES.get(key) or (key if key.startswith(names.LABEL_PREFIX) else "")
        if name and value and len(found) < MAX_BAGGAGE_LABELS:
            found[name] = str(value)[:MAX_VALUE_LENGTH]
    return found


def without_our_baggage(current: Context) -> Context:
    """The context without the labels among its baggage."""
    for key in baggage.get_all(current):
        if key in _BAGGAGE_NAMES or key.startswith(names.LABEL_PREFIX):
            current = baggage.remove_baggage(key, current)
    return current
