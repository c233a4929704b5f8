"""``make bench``: runs every benchmark, or those named: ``make bench BENCH="node_rss onboarding"``.

Each ``*_bench.py`` beside this file has a dict ``BENCHMARKS`` from name to a function that measures and answers results.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from tests.bench.results import Result, save_result

Benchmark = Callable[[], Sequence[Result]]


def load_benchmarks() -> dict[str, Benchmark]:
    found: dict[str, Benchmark] = {}
    for path in sorted(Path(__file__).parent.glob("*_bench.py")):
        found |= getattr(_load(path), "BENCHMARKS", {})
    return found


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tests.bench.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main(names: Sequence[str]) -> int:
    # An end by SIGTERM must pass through the clean-up of what a benchmark started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    known = load_benchmarks()
    if unknown := [name for name in names if name not in known]:
        print(f"bench: unknown: {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or known:
        print(f"bench: {name} …", flush=True)
        started = time.monotonic()
        try:
            for result in known[name]():
                save_result(result)
        except Exception as error:  # noqa: BLE001 - one failing benchmark must not hide the others' figures
            print(f"bench: {name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(name)
        print(f"bench: {name} took {time.monotonic() - started:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
