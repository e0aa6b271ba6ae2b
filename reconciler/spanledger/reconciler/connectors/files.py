"""A folder of bills: whatever lies in it is read every night, format by format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from spanledger.reconciler.connector import Account, Connector, ConnectorSpec, Opening, Setting
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, State
from spanledger.reconciler.files.exports import EXPORT_POLICY, Export, ExportFile, ExportStream
from spanledger.reconciler.files.formats import FORMATS, FormatOptions
from spanledger.reconciler.files.mapped import presets
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.auth import Auth, NoAuth
from spanledger.reconciler.streams import Stream
from spanledger.reconciler.windows import Window

SUFFIXES: Final = (".csv", ".gz", ".zst", ".zip", ".parquet", ".jsonl", ".json", ".tsv")
STREAM: Final = "file"


class Files(Connector):
    """Bills that somebody puts into a folder."""

    spec: ClassVar = ConnectorSpec(
        name="file",
        title="The folder",
        aliases=("files", "focus", "csv"),
        base_url="",
        settings=(
            Setting(name="path", help="a folder with bill files, or one file", required=True),
            Setting(
                name="watch",
                help="read the path again every night; off for a bill that is imported by hand",
                default="on",
                choices=("on", "off"),
            ),
            Setting(name="format", help="auto, focus, cur, azure, generic, or a preset", default="auto"),
            Setting(name="mapping", help="a mapping file (TOML) that says which column means what"),
            Setting(name="provider", help="who bills, where the rows do not say: openai, cohere, ..."),
            Setting(name="currency", help="of amounts without one: USD, EUR, ..."),
            Setting(
                name="decimal", help="decimal sign of numbers that can be read in two ways", choices=("", ".", ","),
            ),
            Setting(
                name="all_services", help="keep a cloud's rows that are no model use", default="off",
                choices=("off", "on"),
            ),
        ),
        setup=("Put the files into the folder; `spanledger bills import --dry-run FILE` shows what rows become.",),
    )  # fmt: skip

    def auth(self, opening: Opening) -> Auth:
        _options(opening.settings)
        return NoAuth()

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        del api
        # What was imported by hand is complete: one of its files read again would replace the months of all of them.
        return () if opening.settings["watch"] == "off" else self.readers(opening.settings)

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        return (
            ExportStream(
                name=STREAM,
                locate=partial(_locate, Path(settings["path"])),
                options=_options(settings),
                store_api=_same,
                permission="to read the folder",
                # The folder is the whole bill: a file that is taken away takes its lines with it.
                policy=replace(EXPORT_POLICY, by_period=False),
            ),
        )

    def identify(self, opening: Opening, api: Api) -> Account | None:
        del api
        return Account(str(Path(opening.settings["path"]).resolve()))


def _same(api: Api) -> Api:
    return api


def _options(settings: Mapping[str, str]) -> FormatOptions:
    known = (*FORMATS, *presets())
    if settings["format"] not in known:
        raise ConfigError(f"--format {settings['format']!r}: choose one of {', '.join(known)}")
    return FormatOptions(
        format=settings["format"],
        mapping=Path(settings["mapping"]) if settings.get("mapping") else None,
        provider=settings.get("provider", ""),
        currency=settings.get("currency", ""),
        decimal=settings.get("decimal", ""),
        all_services=settings["all_services"] == "on",
    )


def _locate(root: Path, api: Api, window: Window) -> Iterator[Export]:
    """All files; the months outside the window are left to their own slices."""
    del api, window
    if root.is_file():
        files = [root]
    elif root.is_dir():
        files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    else:
        raise PermanentSyncError(State.DEGRADED, f"{root}: there is no such file or folder")
    yield Export(period="", files=tuple(ExportFile(name=str(path), path=path) for path in files))
