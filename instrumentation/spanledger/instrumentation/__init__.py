"""Records every call of an LLM SDK as a span with its usage, its cost and whom it is for.

from spanledger.instrumentation import instrument, labels

instrument()
with labels(team_id="search", feature="summaries"):
    client.chat.completions.create(...)
"""

from spanledger.instrumentation._labels import label_client, labels
from spanledger.instrumentation._runtime import flush, instrument, problems, status, uninstrument

__all__ = ["flush", "instrument", "label_client", "labels", "problems", "status", "uninstrument"]
