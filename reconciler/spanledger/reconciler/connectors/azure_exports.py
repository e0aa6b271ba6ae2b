"""Exports of Azure's Cost Management, in a container or in a folder: of each billing period the newest run counts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

from spanledger.reconciler.documents import Json, ShapeError, maybe_obj, obj, objects, text
from spanledger.reconciler.errors import PermanentSyncError, State
from spanledger.reconciler.files.exports import Export, ExportFile, periods
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.streams import Page, follow
from spanledger.reconciler.windows import Window

PERMISSION: Final = "the role Storage Blob Data Reader on the export's container"

_BLOB_HEADERS: Final = {"x-ms-version": "2023-11-03"}
"""Token authentication needs a version of the storage API from 2017-11-09 on."""

T = TypeVar("T")


def local_exports(root: Path, api: Api, window: Window) -> Iterator[Export]:
    """The newest run of each billing period below a folder, by its manifest."""
    del api
    if not root.is_dir():
        raise PermanentSyncError(State.DEGRADED, f"--export {root} is not a folder")
    found: list[tuple[Json, Path]] = []
    for path in sorted(root.rglob("manifest.json")):
        try:
            found.append((obj(json.loads(path.read_text(encoding="utf-8")), str(path)), path))
        except (OSError, ValueError) as error:
            raise ShapeError(f"{path} is no manifest: {error}") from None
    for period, (manifest, path) in _newest(found, window).items():
        names = [text(blob.get("blobName")) for blob in objects(manifest.get("blobs"), f"{path}: blobs")]
        files = [path.parent / name.rpartition("/")[2] for name in names]
        missing = [file.name for file in files if not file.exists()]
        if missing:
            raise PermanentSyncError(
                State.DEGRADED, f"{path.parent}: the manifest names {missing[0]}, which is missing"
            )
        yield Export(period=period, files=tuple(ExportFile(name=str(file), path=file) for file in files))


def _newest(found: Sequence[tuple[Json, T]], window: Window) -> dict[str, tuple[Json, T]]:
    """The run that was submitted last, for each billing period of the window."""
    wanted = set(periods(window))
    newest: dict[str, tuple[str, tuple[Json, T]]] = {}
    for entry in found:
        run = maybe_obj(entry[0].get("runInfo"))
        period, submitted = text(run.get("startDate"))[:7], text(run.get("submittedTime"))
        if period in wanted and (period not in newest or newest[period][0] < submitted):
            newest[period] = (submitted, entry)
    return {period: entry for period, (_, entry) in sorted(newest.items())}


@dataclass(frozen=True, slots=True)
class BlobExports:
    """Exports in a storage container: found by listing the manifests below the export's folder.

    ``address`` is ``https://<account>.blob.core.windows.net/<container>/<root>/<name>``.
    """

    address: str

    def locate(self, api: Api, window: Window) -> Iterator[Export]:
        container, root = _container(self.address)
        found: list[tuple[Json, str]] = []
        for name in self._names(api, container, f"{root}/" if root else ""):
            if name.endswith("/manifest.json"):
                response = api.send(
                    ApiRequest(path=f"/{container}/{quote(name)}", headers=_BLOB_HEADERS, permission=PERMISSION)
                )
                found.append((obj(response.document, name), name))
        for period, (manifest, _) in _newest(found, window).items():
            names = [text(blob.get("blobName")) for blob in objects(manifest.get("blobs"), "blobs")]
            yield Export(
                period=period,
                files=tuple(
                    ExportFile(
                        name=name,
                        request=ApiRequest(
                            path=f"/{container}/{quote(name)}",
                            reads="file",
                            headers=_BLOB_HEADERS,
                            permission=PERMISSION,
                        ),
                    )
                    for name in names
                ),
            )

    def _names(self, api: Api, container: str, prefix: str) -> Iterator[str]:
        opening = ApiRequest(
            path=f"/{container}",
            params=(("restype", "container"), ("comp", "list"), ("prefix", prefix)),
            reads="bytes",
            headers=_BLOB_HEADERS,
            permission=PERMISSION,
        )
        for page in follow(api, opening, _next_names):
            yield from (name.text or "" for name in _blob_list(page).iter("Name"))


def _blob_list(page: Page) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(page.body)  # noqa: S314 - from the storage account itself
    except ElementTree.ParseError as error:
        raise ShapeError(f"Azure's blob list is not XML: {error}") from None


def _next_names(page: Page) -> ApiRequest | None:
    marker = _blob_list(page).findtext("NextMarker") or ""
    kept = tuple(pair for pair in page.request.params if pair[0] != "marker")
    return replace(page.request, params=(*kept, ("marker", marker))) if marker else None


def _container(address: str) -> tuple[str, str]:
    path = unquote(urlsplit(address).path).strip("/")
    container, _, root = path.partition("/")
    return container, root


def blob_api(address: str, api: Api) -> Api:
    """The connection's API turned towards the storage account."""
    parts = urlsplit(address)
    return replace(api, base_url=f"{parts.scheme}://{parts.netloc}", own_hosts=())
