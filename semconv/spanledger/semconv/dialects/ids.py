"""Response ids inside JSON payloads, and ids that gateways invent."""

from __future__ import annotations

import re
from typing import Any, Final

_SEARCH: Final = 65_536
_IN_JSON: Final = re.compile(
    r'"(?:id|response_id|responseId)"\s*:\s*"((?:chatcmpl|cmpl|resp|gen|msg_01|msg_bdrk|msg_vrtx)[-_A-Za-z0-9]{6,200})"'
)
_GEMINI: Final = re.compile(r'"(?:responseId|response_id)"\s*:\s*"([-_A-Za-z0-9]{10,200})"')
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_INVENTED: Final = re.compile(rf"(?:chatcmpl-)?{_UUID}\Z|resp_bGl0ZWxsb", re.IGNORECASE)


def in_json(text: Any) -> str:
    """The id of the provider's answer inside JSON text, ``""`` when none is seen near its beginning or end.

    Quotes inside JSON strings are escaped, so an id that a prompt quotes is not taken for one.
    """
    if not isinstance(text, str) or ('"id"' not in text and "esponse" not in text):
        return ""
    if len(text) > 2 * _SEARCH:
        text = text[:_SEARCH] + "\n" + text[-_SEARCH:]
    match = _IN_JSON.search(text) or _GEMINI.search(text)
    return match[1] if match else ""


def is_invented(response_id: str) -> bool:
    """Whether a gateway made this id: LiteLLM's ``chatcmpl-<uuid>``, bare uuids, and re-encoded ``resp_...``."""
    return _INVENTED.match(response_id) is not None
