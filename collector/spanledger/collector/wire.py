"""OTLP as this collector reads it: trimmed protobuf descriptors in a pool of their own.

Two differences from the stock `opentelemetry.proto` classes, both for robustness and speed:

* every ``string`` is ``bytes``: proto3 refuses a whole message because of one byte that is not UTF-8, and a ledger must
  not lose 500 calls because of one bad label;
* ``attributes`` are ``repeated bytes`` (raw KeyValue messages): most of them repeat from span to span, so `decode`
  looks the raw bytes up in a memo and parses only what it has not seen.

Field numbers are those of opentelemetry-proto v1.x (``opentelemetry/proto/{trace,logs,common,resource}/v1``); fields
that nobody reads are left out and skipped by the parser as unknown fields. The pool is private, so these messages
neither clash with nor depend on any other protobuf classes of the process.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_PACKAGE: Final = "spanledger.wire"

# message → (field, number, type[, "repeated" | oneof name]); a type that starts with a capital is a message below.
_MESSAGES: Final[dict[str, tuple[tuple[Any, ...], ...]]] = {
    "TraceRequest": (("groups", 1, "ResourceSpans", "repeated"),),
    "ResourceSpans": (("resource", 1, "Resource"), ("scopes", 2, "ScopeSpans", "repeated")),
    "ScopeSpans": (("scope", 1, "Scope"), ("records", 2, "Span", "repeated")),
    "LogsRequest": (("groups", 1, "ResourceLogs", "repeated"),),
    "ResourceLogs": (("resource", 1, "Resource"), ("scopes", 2, "ScopeLogs", "repeated")),
    "ScopeLogs": (("scope", 1, "Scope"), ("records", 2, "LogRecord", "repeated")),
    # The same outer shape with the records left as bytes: read when a request holds a record that does not parse.
    "RawRequest": (("groups", 1, "RawGroup", "repeated"),),
    "RawGroup": (("resource", 1, "Resource"), ("scopes", 2, "RawScope", "repeated")),
    "RawScope": (("scope", 1, "Scope"), ("records", 2, "bytes", "repeated")),
    "Resource": (("attributes", 1, "bytes", "repeated"),),
    "Scope": (("name", 1, "bytes"), ("version", 2, "bytes"), ("attributes", 3, "bytes", "repeated")),
    "Span": (
        ("trace_id", 1, "bytes"),
        ("span_id", 2, "bytes"),
        ("parent_span_id", 4, "bytes"),
        ("name", 5, "bytes"),
        ("kind", 6, "int32"),
        ("start_time_unix_nano", 7, "fixed64"),
        ("end_time_unix_nano", 8, "fixed64"),
        ("attributes", 9, "bytes", "repeated"),
        ("events", 11, "bytes", "repeated"),
        ("status", 15, "bytes"),
    ),
    "Event": (("time_unix_nano", 1, "fixed64"), ("name", 2, "bytes"), ("attributes", 3, "bytes", "repeated")),
    "Status": (("message", 2, "bytes"), ("code", 3, "int32")),
    "LogRecord": (
        ("time_unix_nano", 1, "fixed64"),
        ("severity_number", 2, "int32"),
        ("body", 5, "bytes"),
        ("attributes", 6, "bytes", "repeated"),
        ("trace_id", 9, "bytes"),
        ("span_id", 10, "bytes"),
        ("observed_time_unix_nano", 11, "fixed64"),
        ("event_name", 12, "bytes"),
    ),
    "KeyValue": (("key", 1, "bytes"), ("value", 2, "AnyValue")),
    "AnyValue": (
        ("string_value", 1, "bytes", "value"),
        ("bool_value", 2, "bool", "value"),
        ("int_value", 3, "int64", "value"),
        ("double_value", 4, "double", "value"),
        ("array_value", 5, "ArrayValue", "value"),
        ("kvlist_value", 6, "KeyValueList", "value"),
        ("bytes_value", 7, "bytes", "value"),
    ),
    "ArrayValue": (("values", 1, "AnyValue", "repeated"),),
    "KeyValueList": (("values", 1, "KeyValue", "repeated"),),
    # google.rpc.Status and what OTLP puts into it, for the bodies of refusals.
    "RpcStatus": (("code", 1, "int32"), ("message", 2, "string"), ("details", 3, "RpcAny", "repeated")),
    "RpcAny": (("type_url", 1, "string"), ("value", 2, "bytes")),
    "RetryInfo": (("retry_delay", 1, "Duration"),),
    "Duration": (("seconds", 1, "int64"), ("nanos", 2, "int32")),
    # Export{Trace,Logs}ServiceResponse: partial_success{rejected = 1, error_message = 2}.
    "ExportResponse": (("partial_success", 1, "PartialSuccess"),),
    "PartialSuccess": (("rejected", 1, "int64"), ("error_message", 2, "string")),
}

_SCALARS: Final = {
    "bytes": _F.TYPE_BYTES,
    "string": _F.TYPE_STRING,
    "bool": _F.TYPE_BOOL,
    "int32": _F.TYPE_INT32,
    "int64": _F.TYPE_INT64,
    "double": _F.TYPE_DOUBLE,
    "fixed64": _F.TYPE_FIXED64,
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="spanledger/wire.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, *extra in fields:
            field = message.field.add(name=field_name, number=number, label=_F.LABEL_OPTIONAL)
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _F.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
            if extra == ["repeated"]:
                field.label = _F.LABEL_REPEATED
            elif extra:
                if not message.oneof_decl:
                    message.oneof_decl.add(name=extra[0])
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


# Built once at import: pure data, no I/O. `Any`, because generated message classes have no static shape.
_CLASSES: Final = _build()
TraceRequest: Final[Any] = _CLASSES["TraceRequest"]
LogsRequest: Final[Any] = _CLASSES["LogsRequest"]
RawRequest: Final[Any] = _CLASSES["RawRequest"]
RawGroup: Final[Any] = _CLASSES["RawGroup"]
Span: Final[Any] = _CLASSES["Span"]
LogRecord: Final[Any] = _CLASSES["LogRecord"]
Status: Final[Any] = _CLASSES["Status"]
Event: Final[Any] = _CLASSES["Event"]
KeyValue: Final[Any] = _CLASSES["KeyValue"]
AnyValue: Final[Any] = _CLASSES["AnyValue"]
RpcStatus: Final[Any] = _CLASSES["RpcStatus"]
RetryInfo: Final[Any] = _CLASSES["RetryInfo"]
ExportResponse: Final[Any] = _CLASSES["ExportResponse"]


def valid_id(raw: bytes, length: int) -> bytes:
    """An id of the right length that is not all zeros, or ``b""``."""
    return raw if len(raw) == length and raw.count(0) != length else b""


def text(raw: bytes) -> str:
    """Text of a protobuf string field; bytes that are not UTF-8 become U+FFFD."""
    return raw.decode("utf-8", "replace")


def any_value(message: Any) -> Any:
    """The Python value of an AnyValue; ``None`` where no value is set."""
    kind = message.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(message, kind)
    if kind == "string_value":
        return value.decode("utf-8", "replace")
    if kind == "array_value":
        return [any_value(item) for item in value.values]
    if kind == "kvlist_value":
        return {text(item.key): any_value(item.value) for item in value.values}
    return value
