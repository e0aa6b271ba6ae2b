"""Lists of objects behind a cursor: ``has_more`` and ``last_id``, as OpenAI and Anthropic have them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from spanledger.reconciler.documents import Json, obj, objects, text
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.streams import Page, follow

PAGE: Final = "100"
"""Objects of one page: what every such list allows."""


def listed(api: Api, path: str, *, cursor: str, permission: str = "") -> Iterator[Json]:
    """All objects of a list, in its order.

    Args:
        api: with a key that may read it.
        path: of the list.
        cursor: the parameter that takes the last id of a page: ``after`` or ``after_id``.
        permission: see `ApiRequest`.

    Raises:
        SyncError: see `spanledger.reconciler.streams.follow`: a cursor that does not move ends in an error.
    """
    opening = ApiRequest(path=path, params=(("limit", PAGE),), permission=permission)
    for page in follow(api, opening, partial(_next, cursor)):
        yield from objects(obj(page.document, path).get("data"), f"{path}: data")


def _next(cursor: str, page: Page) -> ApiRequest | None:
    document = obj(page.document, page.request.path)
    last = text(document.get("last_id"))
    if not document.get("has_more") or not last:
        return None
    return ApiRequest(
        path=page.request.path, params=(("limit", PAGE), (cursor, last)), permission=page.request.permission
    )
