"""LiteLLM 1.106: SDK and proxy, its legacy, opt-in and v2 spans, and what it writes on the application's own spans."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from spanledger.semconv.dialects import conventions, ids, usage_json, usage_text, values
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.observation import Role
from spanledger.semconv.providers import BILLERS, biller

_M: Final = "metadata.user_api_key_"
_M2: Final = "litellm.metadata.user_api_key_"
_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "session_id": (*conventions.TEXTS["session_id"], "metadata.session_id", "litellm.metadata.session_id"),
    "user_id": (
        _M + "end_user_id", _M2 + "end_user_id", "llm.user",
        *conventions.TEXTS["user_id"], _M + "user_id", _M2 + "user_id",
    ),
    "team_id": (_M + "team_id", _M2 + "team_id", "metadata.team_id", *conventions.TEXTS["team_id"]),
    "project": (_M + "project_id", _M2 + "project_id", *conventions.TEXTS["project"]),
}  # fmt: skip
_RAW: Final = re.compile(r"llm\.([A-Za-z0-9_-]+)\.(id|model|usage|service_tier)\Z")
_SESSION: Final = re.compile(r"'session_id': '([^']{1,200})'")
_REQUEST_IDS: Final = ('"llm_provider-x-request-id": "', '"llm_provider-request-id": "')
_API_BASE: Final = '"api_base": "'
_BILLERS: Final = frozenset(known.word for known in BILLERS)
_MAX_ID: Final = 200
_MAX_FOUND: Final = 500
_DEFAULT_USER: Final = "default_user_id"


def _role(draft: Draft) -> Role | None:
    if not draft.get("operation") and not draft.get("request_model"):
        return _raw_role(draft)
    return conventions.role(draft)


def _raw_role(draft: Draft) -> Role | None:
    """The child span ``raw_gen_ai_request``: the provider's answer, with its real id, as ``llm.<provider>.*``."""
    raw: dict[str, Any] = {}
    provider = ""
    for name, value in draft.attributes.items():
        part = _raw_part(name)
        if part is not None:
            provider = part[0]
            raw[part[1]] = value
    model, response_id = values.known_text(raw.get("model")), values.known_text(raw.get("id"))
    found = usage_text.from_python(raw.get("usage"))
    if not model and not response_id and found is None:
        return None
    fields = draft.fields
    fields["provider"] = "" if provider == "None" else provider
    fields["operation"] = "chat" if found is not None or response_id else ""
    fields["response_id"] = response_id
    fields["response_model"] = model
    usage_json.apply(draft, found)
    draft.notes.append("raw_request")
    return Role.LEAF if found is not None and response_id else Role.DETAIL


@lru_cache(maxsize=1024)
def _raw_part(name: str) -> tuple[str, str] | None:
    """Provider and part of the answer by an attribute's name."""
    match = _RAW.match(name) if len(name) <= _MAX_ID else None
    return (match[1], match[2]) if match else None


def _adjust(draft: Draft) -> None:
    fields, attributes = draft.fields, draft.attributes
    if fields.get("user_id") == _DEFAULT_USER:
        del fields["user_id"]
    if draft.notes and "raw_request" in draft.notes:
        draft.notes.remove("raw_request")
        return
    _models(draft)
    hidden = attributes.get("hidden_params")
    if isinstance(hidden, str) and len(hidden) <= values.MAX_JSON:
        if "request-id" in hidden and "request_id" not in fields:
            request_id = _text_after(hidden, _REQUEST_IDS[0]) or _text_after(hidden, _REQUEST_IDS[1])
            if request_id and len(request_id) <= _MAX_ID:
                fields["request_id"] = request_id
        if not fields.get("server_address") and (base := _text_after(hidden, _API_BASE)):
            fields["server_address"] = base
    response_id = fields.get("response_id")
    if response_id and (response_id == attributes.get("litellm.call_id") or ids.is_invented(response_id)):
        fields["response_id"] = ""
        if response_id.startswith("chatcmpl-"):
            fields["request_id"] = response_id  # the gateway's client knows the call by it
        draft.notes.append("gateway_response_id")
    counts = draft.counts
    if counts and "cache_read" not in counts:
        found = usage_text.from_python(attributes.get("metadata.usage_object"))
        if found is not None and found.counts.get("input") == counts.get("input"):
            usage_json.apply(draft, found)
            draft.input_holds_cache = True
            draft.output_holds_reasoning = True
    if not fields.get("session_id"):
        requester = attributes.get("metadata.requester_metadata")
        if isinstance(requester, str) and "session_id" in requester and len(requester) <= values.MAX_JSON:
            match = _SESSION.search(requester)
            if match:
                fields["session_id"] = match[1]
    named = attributes.get(_M + "alias") or attributes.get(_M2 + "alias")
    if named and (alias := values.known_text(named)):
        draft.labels = {**draft.labels, "key_alias": alias}


def _text_after(document: str, key: str) -> str:
    """The text under a key of JSON text, by search: parsing the whole would take ten times as long."""
    at = document.find(key)
    if at < 0:
        return ""
    at += len(key)
    text = document[at : document.find('"', at, at + _MAX_FOUND)]
    return text if "\\" not in text else ""


def _models(draft: Draft) -> None:
    """The routed model behind a gateway's alias, and who serves it."""
    fields = draft.fields
    routed = draft.attributes.get("litellm.provider.model")
    if not isinstance(routed, str) or len(routed) > values.MAX_TEXT:
        return
    prefix, slash, model = routed.partition("/")
    if not slash:
        return
    if not draft.get("provider"):
        fields["provider"] = prefix if biller(prefix) in _BILLERS else ""
    alias = draft.attributes.get("litellm.model_group")
    if alias and alias != model and fields.get("response_model") in (None, "", alias):
        fields["response_model"] = model


DIALECT: Final = Dialect(
    name="litellm",
    scopes=("litellm", "litellm.*", "litellm@*"),
    markers=(
        "litellm.call_id", "litellm.provider.model", "gen_ai.cost.total_cost", "litellm.cost.total", _M + "hash",
        "llm.None.model", "llm.openai.messages", "llm.openai.model", "llm.anthropic.messages", "llm.anthropic.model",
    ),
    texts=_TEXTS,
    counts=conventions.COUNTS,
    role=_role,
    adjust=_adjust,
    trust=1,
)  # fmt: skip
