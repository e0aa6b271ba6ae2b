"""Files of results, one JSON object a line: how providers hand out what became of a batch."""

from __future__ import annotations

from collections.abc import Iterator

from spanledger.reconciler.documents import Json, load, obj
from spanledger.reconciler.errors import RetryableSyncError, State
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.messages import ApiRequest


def results(api: Api, request: ApiRequest) -> Iterator[Json]:
    """The objects of a file, which is read from disk line by line and then removed.

    Args:
        api: with a key that may read it.
        request: for the file; must read ``file``.

    Raises:
        SyncError: see `Api.send`; a line that is no JSON object is a file that was cut off.
    """
    response = api.send(request)
    assert response.file is not None
    try:
        with response.file.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield _result(line)
    except UnicodeDecodeError:
        raise RetryableSyncError(State.DEGRADED, f"{api.name} sent batch results that are not UTF-8 text") from None
    finally:
        response.file.unlink(missing_ok=True)


def _result(line: str) -> Json:
    try:
        found = load(line)
    except ValueError:
        raise RetryableSyncError(State.DEGRADED, "a batch's results are cut off in the middle of a line") from None
    return obj(found, "a batch result")
