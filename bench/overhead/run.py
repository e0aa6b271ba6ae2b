"""What instrumenting adds to one call: Spanledger and every peer beside nothing at all, in one run and one table.

    python bench/overhead/run.py                       # all peers: environments once, then less than eight minutes
    python bench/overhead/run.py --rounds 12 --generations 7 --starts 5     # surer figures, in half an hour
    python bench/overhead/run.py --peers genai,tokenid
    python bench/overhead/run.py --peers ''            # Spanledger alone

Every variant is a process of its own; they take turns in short blocks, in shuffled order, and each block is compared
with the same round's block of a bare process in the same environment: what the machine does besides hits all alike.
The environments lie under ``bench/results/overhead`` and are kept; a peer that cannot be installed is named in the
report. Nothing here decides over a build: a measurement is not a test.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from peers import BOTH, PEERS, SDKS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "bench" / "results" / "overhead"
LABELS = "team_id=search,feature=summaries,tenant=acme"
OURS = ("spanledger", "spanledger+metrics", "spanledger inline")
COLUMNS = (("wall", "calling thread, wall"), ("thread", "calling thread, CPU"), ("process", "process, CPU"))
STREAM_COLUMNS = (("first", "before the first chunk"), ("chunk", "per chunk"), ("last", "after the last chunk"))
# The table that shows everybody: title, scenario, column.
SUMMARY = (
    ("chat", "openai", "wall"),
    ("message", "anthropic", "wall"),
    ("OpenAI stream", "openai stream", "wall"),
    ("first chunk", "openai stream", "first"),
    ("a chunk", "openai stream", "chunk"),
    ("Anthropic stream", "anthropic stream", "wall"),
    ("first chunk", "anthropic stream", "first"),
    ("a chunk", "anthropic stream", "chunk"),
)
GOALS: Mapping[str, tuple[str, ...]] = {
    "spanledger": ("65", "50", "300", "60", "0.8", "200", "60", "0.5"),
    "spanledger+metrics": ("110", "95", "", "", "", "", "", ""),
}


@dataclass(frozen=True)
class Variant:
    """One process: a name, the environment that it runs in, and what it is measured with."""

    name: str
    home: str
    scenarios: tuple[str, ...]

    @property
    def peer(self) -> str:
        return self.name.partition("+")[0].partition(" ")[0].partition("@")[0]

    @property
    def bare(self) -> str:
        return f"bare@{self.home}"


def environment_of(name: str) -> Path | None:
    """The Python of an environment with the SDKs and one peer, made when it is missing; ``None``: it cannot be."""
    home = RESULTS / f"venv-{name}"
    python, done = home / "bin" / "python", home / "installed"
    if done.exists():
        return python
    print(f"making {home.relative_to(ROOT)}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if name == "none":
        steps = [[*SDKS, "-e", str(ROOT)]]
    else:
        peer = PEERS[name]
        steps = [[*peer.sdks, *peer.needs]]
        if peer.without_dependencies:
            steps.append(["--no-deps", *peer.without_dependencies])
    for step in steps:
        if subprocess.run([*pip, *step], check=False).returncode:
            return None
    done.touch()
    return python


def start(python: Path, variant: str, *options: str) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # The Anthropic SDK's own spans are off: only Spanledger replaces them, the others would make two spans a call.
    chosen = {"ANTHROPIC_OPEN_TELEMETRY": "false", "SPANLEDGER_LABELS": LABELS, "PYTHONHASHSEED": "0"}
    name, _, metrics = variant.partition("+")
    if variant == "spanledger inline":
        chosen["SPANLEDGER_FINISH"] = "inline"
    if name in PEERS:
        chosen |= PEERS[name].environment | ({} if metrics else PEERS[name].without_metrics)
    return subprocess.Popen(
        [python, HERE / "worker.py", variant, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
        text=True,
        env={**kept, **chosen},
    )


def read(process: subprocess.Popen[str]) -> dict[str, float] | None:
    """What a worker says next; ``None`` when it is dead."""
    assert process.stdout
    line = process.stdout.readline()
    return json.loads(line) if line else None


Added = dict[tuple[str, str, str], list[float]]
"""Microseconds added by (variant, scenario, column), one number a round."""


def run(variants: list[Variant], pythons: Mapping[str, Path], rounds: int, generations: int) -> tuple[Added, set[str]]:
    """Measure; returns what each added, and who died."""
    added: Added = {}
    dead: set[str] = set()
    for generation in range(generations):
        workers = {one: start(pythons[one.home], one.name) for one in variants if one.name not in dead}
        for one in [one for one, worker in workers.items() if read(worker) is None]:
            dead.add(one.name)
            del workers[one]
        for turn in range(rounds + 1):  # the first one warms up
            for scenario in BOTH:
                found: dict[str, tuple[Variant, dict[str, float]]] = {}
                asked = [one for one in workers if scenario in one.scenarios]
                for one in random.sample(asked, len(asked)):
                    worker = workers[one]
                    assert worker.stdin
                    print(scenario, file=worker.stdin, flush=True)
                    answer = read(worker)
                    if answer is None:
                        dead.add(one.name)
                        del workers[one]
                    else:
                        found[one.name] = (one, answer)
                for name, (one, columns) in found.items() if turn else ():
                    for column, value in columns.items():
                        base = 0.0 if name == one.bare else found[one.bare][1][column]
                        added.setdefault((name, scenario, column), []).append(value - base)
        for worker in workers.values():
            assert worker.stdin
            worker.stdin.close()
            worker.wait(20)
        print(f"generation {generation + 1} of {generations}", file=sys.stderr)
    return added, dead


Started = dict[str, list[dict[str, float]]]


def startup(variants: list[Variant], pythons: Mapping[str, Path], rounds: int) -> Started:
    """Fresh processes: what importing and instrumenting costs."""
    found: Started = {}
    for turn in range(rounds + 1):
        for one in random.sample(variants, len(variants)):
            worker = start(pythons[one.home], one.name, "--startup")
            measured = read(worker)
            worker.wait(20)
            if turn and measured is not None:
                found.setdefault(one.name, []).append(measured)
    return found


def summary(added: Added, started: Started, variants: list[Variant]) -> Iterator[str]:
    """Everybody in one table: median microseconds added to a call (wall · CPU), and what starting costs."""
    titles = [*(title for title, _, _ in SUMMARY), "start, ms", "MiB"]
    yield "| | " + " | ".join(titles) + " | |"
    yield "|---" * (len(titles) + 2) + "|"
    for one in sorted(variants, key=lambda one: _rank(one, added)):
        if one.name == one.bare:
            continue
        cells = [_cell(added, one.name, scenario, column) for _, scenario, column in SUMMARY]
        cells += [_started(started, one, "setup_ms", 0), _more(started, one)]
        peer = PEERS.get(one.peer)
        yield f"| {one.name} | " + " | ".join(cells) + f" | {peer.says if peer else ''} |"
        if goals := GOALS.get(one.name):
            yield "| goal | " + " | ".join(f"≤ {goal}" if goal else "" for goal in (*goals, "25", "4")) + " | |"
    bare = next(one.name for one in variants if one.name == "bare@none")
    in_all = [_cell(added, bare, scenario, column) for _, scenario, column in SUMMARY]
    yield f"| the call itself | {' | '.join(in_all)} | | | |"


def _rank(one: Variant, added: Added) -> tuple[bool, float]:
    figures = added.get((one.name, "openai", "wall")) or added.get((one.name, "anthropic", "wall")) or [0.0]
    return one.peer != "spanledger", statistics.median(figures)


def _cell(added: Added, variant: str, scenario: str, column: str) -> str:
    values = added.get((variant, scenario, column))
    if not values:
        return "–"
    if column == "wall":
        return f"{statistics.median(values):.0f} · {statistics.median(added[variant, scenario, 'thread']):.0f}"
    return f"{statistics.median(values):.{2 if column == 'chunk' else 0}f}"


def _started(started: Started, one: Variant, name: str, digits: int) -> str:
    found = started.get(one.name)
    return f"{statistics.median(each[name] for each in found):.{digits}f}" if found else "–"


def _more(started: Started, one: Variant) -> str:
    """Memory after some calls, above a bare process that made the same ones."""
    ours, bare = started.get(one.name), started.get(one.bare)
    if not ours or not bare:
        return "–"
    medians = [statistics.median(each["end_mib"] for each in found) for found in (ours, bare)]
    return f"{medians[0] - medians[1]:.1f}"


def details(added: Added, variants: list[Variant]) -> Iterator[str]:
    for scenario in BOTH:
        columns = COLUMNS + (STREAM_COLUMNS if "stream" in scenario else ())
        yield f"\n### {scenario}: µs added to a call, median (bare: µs in all)\n"
        yield "| | " + " | ".join(title for _, title in columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
        for one in variants:
            if scenario not in one.scenarios or (one.name, scenario, "wall") not in added:
                continue
            medians = [(column, statistics.median(added[one.name, scenario, column])) for column, _ in columns]
            cells = [f"{value:.2f}" if column == "chunk" else f"{value:.0f}" for column, value in medians]
            yield f"| {one.name} | " + " | ".join(cells) + " |"


def versions(python: Path) -> str:
    """What stands beside a peer, to read its figures by."""
    wanted = (
        "openai",
        "anthropic",
        "opentelemetry-sdk",
        "opentelemetry-instrumentation",
        "open",
        "logfire",
        "langfuse",
    )
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    named = (
        f"{one['name']} {one['version']}" for one in json.loads(listed) if one["name"].startswith((*wanted, "tokenid"))
    )
    return ", ".join(named)


def measured(options: argparse.Namespace) -> Iterator[str]:
    """Measure, then the report, line by line."""
    wished = list(PEERS) if options.peers == "all" else [one for one in options.peers.split(",") if one]
    pythons: dict[str, Path] = {}
    missing: list[str] = []
    for name in ["none", *(one for one in wished if PEERS[one].needs)]:
        python = environment_of(name)
        if python is None:
            missing.append(f"{name}: cannot be installed here")
        else:
            pythons[name] = python
    if "none" not in pythons:
        raise SystemExit("Spanledger itself cannot be installed: see pip's message above")
    variants = [Variant(f"bare@{home}", home, BOTH) for home in pythons]
    variants += [Variant(name, "none", BOTH) for name in OURS]
    for name in wished:
        home = name if PEERS[name].needs else "none"
        if home in pythons:
            variants.append(Variant(name, home, PEERS[name].scenarios))
            if PEERS[name].has_metrics:
                variants.append(Variant(f"{name}+metrics", home, PEERS[name].scenarios))
    added, dead = run(variants, pythons, options.rounds, options.generations)
    missing += [f"{name}: installed, but its process died" for name in sorted(dead)]
    variants = [one for one in variants if one.name not in dead]
    started = startup(variants, pythons, options.starts)
    yield "# What instrumenting adds to a call"
    yield ""
    yield f"    python bench/overhead/run.py {' '.join(sys.argv[1:])}".rstrip()
    yield ""
    today = datetime.datetime.now(datetime.UTC).date()
    yield f"{today}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, load"
    yield f"{os.getloadavg()[0]:.1f} at the end; {options.generations} generations of {options.rounds} rounds. Medians,"
    yield "microseconds that the calling thread takes longer than a bare process in the same round, wall · its CPU time"
    yield "(on a busy machine, trust the CPU time); streams have 200 deltas; MiB after 80 calls."
    yield ""
    yield from summary(added, started, variants)
    yield ""
    yield f"Missing: {'; '.join(missing) or 'nobody'}."
    yield ""
    for name, python in pythons.items():
        yield f"- {name}: {versions(python)}"
    yield from details(added, variants)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--starts", type=int, default=2, help="fresh processes per variant")
    parser.add_argument("--peers", default="all", help=f"'all', or comma-separated, of {', '.join(PEERS)}; '' for none")
    parser.add_argument("--out", type=Path, default=RESULTS.with_suffix(".md"), help="the report")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = "\n".join(measured(options)) + "\n"
    options.out.write_text(report)
    print(report)


if __name__ == "__main__":
    main()
