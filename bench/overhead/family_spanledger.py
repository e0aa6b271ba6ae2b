"""Spanledger's own instrumentation, as a family of the shared overhead harness.

How to use: make a virtual environment with this project, the SDKs and opentelemetry-sdk, name it in SPANLEDGER_VENV (or
put it at ``venvs/spanledger`` beside the harness), copy this file to ``families/spanledger.py`` there, and run

    python bench/run.py verify --only spanledger
    python bench/run.py call --only spanledger,tokenid,genai/off --rounds 14 --gens 5 --out results/spanledger.json

Every variant has cost (the price book that comes with Spanledger) and three labels from the environment.
"""

import os

VENV = os.environ.get("SPANLEDGER_VENV", "spanledger")
_LABELS = {"SPANLEDGER_LABELS": "team_id=search,feature=summaries,tenant=acme"}
VARIANTS = {
    "default": {"env": _LABELS, "note": "spans completed by the background thread"},
    "default+metrics": {"env": _LABELS, "metrics": True},
    "inline": {"env": {**_LABELS, "SPANLEDGER_FINISH": "inline"}, "note": "everything in the calling thread"},
    "block": {"env": {}, "note": "labels from a with block around all calls"},
    "native_on": {
        "env": {**_LABELS, "ANTHROPIC_OPEN_TELEMETRY": "true"},
        "note": "the Anthropic SDK's own span suppressed",
    },
}


def setup(ctx):
    from spanledger import instrumentation

    instrumentation.instrument(tracer_provider=ctx.tracer_provider, meter_provider=ctx.meter_provider)
    if ctx.variant == "block":
        ctx.block = instrumentation.labels(team_id="search", feature="summaries", tenant="acme")
        ctx.block.__enter__()
    ctx.extra_flush[:] = [instrumentation.flush, ctx.tracer_provider.force_flush]
