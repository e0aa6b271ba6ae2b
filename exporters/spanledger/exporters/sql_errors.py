"""Errors of the SQL endpoint in ClickHouse's own shape: numeric code, name, text, HTTP status."""

from __future__ import annotations

import re
from typing import Final

_STATUS: Final = {
    36: 400,  # BAD_ARGUMENTS
    43: 400,  # ILLEGAL_TYPE_OF_ARGUMENT
    46: 404,  # UNKNOWN_FUNCTION
    47: 404,  # UNKNOWN_IDENTIFIER
    48: 501,  # NOT_IMPLEMENTED
    50: 404,  # UNKNOWN_TYPE
    53: 400,  # TYPE_MISMATCH
    60: 404,  # UNKNOWN_TABLE
    62: 400,  # SYNTAX_ERROR
    73: 404,  # UNKNOWN_FORMAT
    81: 404,  # UNKNOWN_DATABASE
    115: 404,  # UNKNOWN_SETTING
    158: 413,  # TOO_MANY_ROWS
    159: 408,  # TIMEOUT_EXCEEDED
    194: 401,  # REQUIRED_PASSWORD
    202: 503,  # TOO_MANY_SIMULTANEOUS_QUERIES
    396: 413,  # TOO_MANY_ROWS_OR_BYTES
    456: 400,  # UNKNOWN_QUERY_PARAMETER
    497: 403,  # ACCESS_DENIED
    516: 403,  # AUTHENTICATION_FAILED
}
"""HTTP status of a ClickHouse code, as far as callers tell them apart; all others are 500, as on a server."""

READONLY: Final = 164
_CODE = re.compile(r"Code: (\d+)\.")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)")
_VERSION = re.compile(r"\s*\(version [^()]*\)")


class SqlError(Exception):
    """A query was refused or failed.

    Attributes:
        code: ClickHouse's numeric error code (src/Common/ErrorCodes.cpp).
        message: the text between the code and the name, one line where it is ours.
        name: ClickHouse's name of the code.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.message = message

    @classmethod
    def readonly(cls, message: str) -> SqlError:
        return cls(READONLY, "READONLY", message)

    @classmethod
    def denied(cls, message: str) -> SqlError:
        return cls(497, "ACCESS_DENIED", message)

    @classmethod
    def bad(cls, message: str) -> SqlError:
        return cls(36, "BAD_ARGUMENTS", message)

    @classmethod
    def from_engine(cls, text: str) -> SqlError:
        """Read the engine's error text (``Code: 60. DB::Exception: ... (UNKNOWN_TABLE)``)."""
        code = _CODE.search(text)
        names = _NAME.findall(text)
        message = text[code.end() :] if code else text
        message = _VERSION.sub("", message).strip()
        while message.startswith("DB::Exception:"):
            message = message.removeprefix("DB::Exception:").lstrip()
        name = names[-1] if names else "UNKNOWN_EXCEPTION"
        message = message.removesuffix(f"({name})").rstrip()
        return cls(int(code[1]) if code else 1002, name, message)

    @property
    def status(self) -> int:
        """The HTTP status that a ClickHouse server answers with."""
        return _STATUS.get(self.code, 500)

    def body(self, version: str) -> str:
        """The response body, as a ClickHouse server writes it."""
        return f"Code: {self.code}. DB::Exception: {self.message} ({self.name}) (version {version})\n"

    def trailer(self, version: str, tag: str) -> bytes:
        """What ends a body whose status is sent already, as ClickHouse 25.11 and later write it.

        Args:
            version: the engine's.
            tag: the response's ``X-ClickHouse-Exception-Tag``.
        """
        text = self.body(version)
        return f"\r\n__exception__\r\n{tag}\r\n{text}{len(text.encode())} {tag}\r\n__exception__\r\n".encode()
