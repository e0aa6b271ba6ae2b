"""Prefork servers (gunicorn, Celery): instrumented in the parent, called in its children."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from llm_wire import chat, chat_events

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

WITH_A_STREAM = """
import gc, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from spanledger import instrumentation

class Lines(SpanExporter):
    def export(self, spans):
        for span in spans:
            partial = span.attributes.get('spanledger.usage.partial', False)
            os.write(1, f"{os.getpid()} {partial}\\n".encode())
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Lines()))
instrumentation.instrument(tracer_provider=provider)
client = openai.OpenAI(api_key="none", base_url=sys.argv[1], max_retries=0)
stream = client.chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "Why?"}], stream=True
)
next(stream)
child = os.fork()
if child == 0:
    if sys.argv[2] == "drops":
        stream = None
        gc.collect()
    else:
        list(stream)
    provider.force_flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
if sys.argv[2] == "drops":
    list(stream)
print("parent", os.getpid(), flush=True)
provider.force_flush()
os._exit(0)
"""
APP = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later on forks beside threads
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from spanledger import instrumentation

exported = []

class Lines(SpanExporter):
    def export(self, spans):
        for span in spans:
            cost = span.attributes.get('spanledger.cost.total')
            os.write(1, f"{os.getpid()} {span.context.span_id} {cost}\\n".encode())
            exported.append(span)
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Lines(), schedule_delay_millis=100))
instrumentation.instrument(tracer_provider=provider)

def ask():
    client = openai.OpenAI(api_key="none", base_url=sys.argv[1], max_retries=0)
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Why?"}])

def work(is_told_to_stop):
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if is_told_to_stop:
        provider.force_flush()
    deadline = time.monotonic() + 60  # one that serves on has its spans exported by the threads of its own process
    while len(exported) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os._exit(0 if len(exported) == 2 else 3)

ask()
provider.force_flush()  # the threads of all and the prices are there before the forks
exported.clear()
children = []
for is_told_to_stop in (True, False):
    child = os.fork()
    if child == 0:
        work(is_told_to_stop)
    children.append(child)
print("children", *children, *(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children), flush=True)
ask()
provider.shutdown()
"""


def test_each_process_exports_its_own_calls(provider: Any, reply: Any) -> None:
    provider.replies += [reply(chat()) for _ in range(6)]
    ran = subprocess.run(
        [sys.executable, "-c", APP, provider.url], capture_output=True, text=True, timeout=180, check=False
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    (children,) = (line[1:] for line in lines if line[0] == "children")
    assert children[2:] == ["0", "0"], ran.stderr
    spans = [line for line in lines if line[0] != "children"]
    assert len({span_id for _, span_id, _ in spans}) == len(spans) == 6
    assert [sum(pid == child for pid, _, _ in spans) for child in children[:2]] == [2, 2], "the others are the parent's"
    assert "None" not in {cost for _, _, cost in spans}


@pytest.mark.parametrize("child", ["drops", "reads"])
def test_a_stream_that_was_open_at_the_fork_is_one_span(provider: Any, reply: Any, child: str) -> None:
    """Of the process that reads it to its end."""
    provider.replies.append(reply(events=chat_events()))
    ran = subprocess.run(
        [sys.executable, "-c", WITH_A_STREAM, provider.url, child],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    (parent,) = (line[1] for line in lines if line[0] == "parent")
    ((pid, is_partial),) = (line for line in lines if line[0] != "parent")
    assert (pid == parent) is (child == "drops")
    assert is_partial == "False"
