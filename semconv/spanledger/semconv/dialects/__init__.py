"""Everybody's GenAI telemetry, read into observations: one table per emitter.

Give a `Dialects` the records of any OTLP source; it knows each emitter by its instrumentation scope, and what that one
means by "input tokens".
"""

from spanledger.semconv.dialects.registry import DIALECTS, Dialects, trust
from spanledger.semconv.dialects.table import Dialect
from spanledger.semconv.dialects.tabular import Reading

__all__ = ["DIALECTS", "Dialect", "Dialects", "Reading", "trust"]
