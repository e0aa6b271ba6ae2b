"""What instrumenting adds to one call: Spanledger, nothing at all, and peers, side by side in one run.

    python bench/overhead/run.py                       # makes the environments, about three minutes
    python bench/overhead/run.py --rounds 20 --generations 5 --peers genai,tokenid

Every variant is a process of its own; they take turns in short blocks, in shuffled order, and each block is compared
with the same round's block of the bare process: what the machine does besides hits all alike. The environments lie
under ``bench/results/overhead`` and are kept. Nothing here decides over a build: a measurement is not a test.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "bench" / "results" / "overhead"
COMMON = ["openai>=3", "anthropic>=2", "opentelemetry-sdk>=1.45", "wrapt"]
PEERS = {
    "genai": ["opentelemetry-instrumentation-genai-openai", "opentelemetry-instrumentation-genai-anthropic"],
    "tokenid": ["tokenid"],
}
SCENARIOS = ["openai", "anthropic", "openai stream", "anthropic stream"]
LABELS = "team_id=search,feature=summaries,tenant=acme"
COLUMNS = (("wall", "calling thread, wall"), ("thread", "calling thread, CPU"), ("process", "process, CPU"))
STREAM_COLUMNS = (("first", "before the first chunk"), ("chunk", "per chunk"), ("last", "after the last chunk"))


def environment_of(peer: str) -> Path:
    """The Python of an environment with the project and one peer; made when it is missing."""
    home = RESULTS / f"venv-{peer}"
    python = home / "bin" / "python"
    if not python.exists():
        print(f"making {home.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *COMMON]
        subprocess.run([*install, *PEERS.get(peer, []), "-e", str(ROOT)], check=True)
    return python


def start(python: Path, variant: str, *options: str) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # The Anthropic SDK's own spans are off: only Spanledger replaces them, the others would make two spans a call.
    chosen = {"ANTHROPIC_OPEN_TELEMETRY": "false", "SPANLEDGER_LABELS": LABELS, "PYTHONHASHSEED": "0"}
    if variant == "spanledger inline":
        chosen["SPANLEDGER_FINISH"] = "inline"
    return subprocess.Popen(
        [python, HERE / "worker.py", variant, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**kept, **chosen},
    )


def read(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a worker died: {process.args}")
    return json.loads(line)  # type: ignore[no-any-return]


def run(variants: dict[str, Path], rounds: int, generations: int) -> dict[tuple[str, str, str], list[float]]:
    """Added microseconds by (variant, scenario, column), one number a round."""
    added: dict[tuple[str, str, str], list[float]] = {}
    for generation in range(generations):
        workers = {variant: start(python, variant) for variant, python in variants.items()}
        for worker in workers.values():
            read(worker)
        for turn in range(rounds + 1):  # the first one warms up
            for scenario in SCENARIOS:
                found: dict[str, dict[str, float]] = {}
                for variant in random.sample(sorted(workers), len(workers)):
                    worker = workers[variant]
                    assert worker.stdin
                    print(scenario, file=worker.stdin, flush=True)
                    found[variant] = read(worker)
                for variant, columns in found.items() if turn else ():
                    for column, value in columns.items():
                        base = 0.0 if variant == "bare" else found["bare"][column]
                        added.setdefault((variant, scenario, column), []).append(value - base)
        for worker in workers.values():
            assert worker.stdin
            worker.stdin.close()
            worker.wait(10)
        print(f"generation {generation + 1} of {generations}", file=sys.stderr)
    return added


def report(added: dict[tuple[str, str, str], list[float]], variants: list[str]) -> None:
    def row(variant: str, scenario: str, columns: Any) -> str:
        shown: list[str] = []
        for column, _ in columns:
            median = statistics.median(added[variant, scenario, column])
            shown.append(f"{median:.2f}" if column == "chunk" else f"{median:.0f}")
        return f"| {variant} | " + " | ".join(shown) + " |"

    for scenario in SCENARIOS:
        columns = COLUMNS + (STREAM_COLUMNS if "stream" in scenario else ())
        print(f"\n### {scenario}: µs added to a call (bare: µs in all)\n")
        print("| | " + " | ".join(title for _, title in columns) + " |")
        print("|---" * (len(columns) + 1) + "|")
        for variant in variants:
            print(row(variant, scenario, columns))


def startup(variants: dict[str, Path], rounds: int) -> None:
    """Fresh processes: what importing and instrumenting costs."""
    found: dict[str, list[dict[str, float]]] = {}
    for turn in range(rounds + 1):
        for variant in random.sample(sorted(variants), len(variants)):
            worker = start(variants[variant], variant, "--startup")
            measured = read(worker)
            worker.wait(10)
            if turn:
                found.setdefault(variant, []).append(measured)
    print("\n### Start: import and instrument, both SDKs imported before\n")
    print("| | ms | MiB | modules | MiB more than bare after 80 calls |\n|---|---|---|---|---|")

    def median(variant: str, name: str) -> float:
        return statistics.median(one[name] for one in found[variant])

    for variant in variants:
        more = median(variant, "end_mib") - median("bare", "end_mib")
        print(
            f"| {variant} | {median(variant, 'setup_ms'):.0f} | {median(variant, 'setup_mib'):.1f} |"
            f" {median(variant, 'modules'):.0f} | {more:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--peers", default="genai", help=f"comma-separated, of {', '.join(PEERS)}; '' for none")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    ours = environment_of("none")
    variants = {"bare": ours, "spanledger": ours, "spanledger+metrics": ours, "spanledger inline": ours}
    for peer in filter(None, options.peers.split(",")):
        variants[peer] = environment_of(peer)
        if peer == "genai":
            variants["genai+metrics"] = variants[peer]
    report(run(variants, options.rounds, options.generations), list(variants))
    startup(variants, 5)


if __name__ == "__main__":
    main()
