"""Where inference ran: what answers and hosts tell of it."""

from __future__ import annotations

import re
from typing import Final

GLOBAL: Final = "global"
_UNTOLD: Final = frozenset({"", "not_available"})
_MAX_WORD: Final = 40
_VERTEX_HOST: Final = re.compile(r"(?:([a-z0-9-]+)-)?aiplatform(?:\.mtls)?(?:\.([a-z0-9-]+)\.rep)?\.googleapis\.com")
"""``us-east5-aiplatform...``, ``aiplatform.us.rep...`` (several regions), ``aiplatform...`` (anywhere)."""


def place(provider: str, told: str, host: str) -> str:
    """Where a call's inference ran, in lower case; ``""`` when that is not known.

    Args:
        provider: the ledger's word for who bills.
        told: what the provider's answer says of it (``us``, ``global``, ``not_available``).
        host: where the request went; on Vertex AI it names the place.
    """
    if provider == "google_vertex":
        found = _VERTEX_HOST.fullmatch(host.strip().lower())
        if found:
            return found[1] or found[2] or GLOBAL
    word = told.strip().lower()[:_MAX_WORD]
    return "" if word in _UNTOLD else word
