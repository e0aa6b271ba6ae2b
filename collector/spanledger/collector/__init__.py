"""The OTLP collector: receivers, a durable journal, and the pipeline that turns spans into ledger rows."""
