"""The goals on a GPU and the figures that were measured: ``python -m bench.goals FOLDER``.

Reads the output of ``bench/gpu.sh`` there: result files of the benchmark, the comparison of bits, and the exit
statuses of the tests and of the memory checker.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastopt.bench.gpu.tables import copy_bandwidth, device_line
from fastopt.bench.results import Results
from fastopt.bench.rows import Row, of_role
from fastopt.bench.text import table
from fastopt.bench.timing import paired_ratio

__all__ = ["Goal", "goals", "main"]

LARGE, SMALL = 100_000_000, 100_000
"""Parameters of the goals."""

_COPY, _LARGE_FUSED, _SMALL_FUSED, _TWIN, _TRAINING = 0.95, 1.0, 1.5, 0.98, 1.0
_FUSED, _OWN = "torch-gpu-fused", "fastopt-cuda"
_TRAINERS = {"torch-gpu": "PyTorch's loop with the fused Adam", "torch-gpu-graph": "PyTorch's step as a CUDA graph"}

_CUT_OFF = "124"
"""The exit status of `timeout` for a command that it has ended."""


@dataclass(frozen=True)
class Goal:
    """One goal: its name, the wanted figure, the one that was found, and whether it is met; None if not measured."""

    name: str
    wanted: str
    found: str
    met: bool | None


def goals(results: Sequence[Results], bits: Path, statuses: Iterable[tuple[str, Path]]) -> Iterator[Goal]:
    """Yield the goals: of speed from the result files, then bits, then those that only have an exit status."""
    steps = [one for one in results if one.suite == "gpu"]
    shares = dict(share for one in steps for share in _shares_of_copy(one))
    open_cases = sum(_is_open(row) for one in steps for row in one.rows)
    yield _least(f"every rule at {LARGE:,} and more: share of the copy bandwidth", _COPY, shares, open_cases)
    cases = [rows for one in steps for rows in one.by_case()]
    for size, kind, wanted in ((LARGE, "step", _LARGE_FUSED), (SMALL, "graph", _SMALL_FUSED)):
        chosen = [rows for rows in cases if (rows[0].case["size"], rows[0].case["kind"]) == (size, kind)]
        yield _least(f"{size:,}, {kind}: speed × PyTorch's fused", wanted, _ratios(chosen, "peer", _FUSED))
        if size == LARGE:
            yield _least(f"{size:,}: speed × the same pass in CUDA C", _TWIN, _ratios(chosen, "twin", "cuda-c"))
    trainings = [rows for one in results if one.suite == "train" for rows in one.by_case()]
    for trainer, name in _TRAINERS.items():
        yield _least(f"training: speed × {name}", _TRAINING, _ratios(trainings, "peer", trainer))
    yield _bits(bits)
    for name, file in statuses:
        yield _status(name, file)


def _shares_of_copy(results: Results) -> Iterator[tuple[str, float]]:
    bandwidth = copy_bandwidth(results)
    for row in results.rows:
        if bandwidth and row.timed and row.role == "own" and row.case["kind"] == "step" and row.case["size"] >= LARGE:
            yield _named(row), row.figures["bytes"] / row.median / bandwidth


def _is_open(row: Row) -> bool:
    """Return whether this is a rule of the first goal that has no time: wrong, failed, or left out."""
    case = row.case
    return row.role == "own" and not row.timed and case["kind"] == "step" and case["size"] == LARGE


def _ratios(cases: Sequence[list[Row]], role: str, name: str) -> dict[str, float]:
    """Return how many times as long the other takes, by case; with a star where the GPU waited for a host."""
    found = {}
    for rows in cases:
        own = [row for row in of_role(rows, "own") if row.contender == _OWN]
        others = [row for row in of_role(rows, role) if row.contender == name]
        if own and others:
            star = " *" if any(row.figures.get("host_bound") for row in (own[0], others[0])) else ""
            found[_named(own[0]) + star] = paired_ratio(others[0].seconds["rounds"], own[0].seconds["rounds"])
    return found


def _named(row: Row) -> str:
    case = row.case
    if case["suite"] == "train":
        return f"{'-'.join(map(str, case['sizes']))} batch {case['batch']}"
    return f"{case['rule']} {case['dtype']} {case['size']:,}"


def _least(name: str, wanted: float, found: dict[str, float], unmeasured: int = 0) -> Goal:
    """Return a goal that the least of all figures has to reach; open where some are lacking and none is below."""
    if not found:
        return Goal(name, f"≥ {wanted:.2f}", "not measured", None)
    case = min(found, key=lambda key: found[key])
    low, high, missed = found[case], max(found.values()), sum(value < wanted for value in found.values())
    text = f"{low:.3f} ({case}) to {high:.3f}, {len(found)} cases, {missed} below"
    if unmeasured:
        text += f", {unmeasured} not measured"
    return Goal(name, f"≥ {wanted:.2f}", text, None if unmeasured and not missed else not missed)


def _bits(file: Path) -> Goal:
    name = "bits of CPU and GPU"
    if not file.exists():
        return Goal(name, "equal", "not compared", None)
    content = json.loads(file.read_text(encoding="utf-8"))
    different = sum(bool(one["different"]) for one in content["checked"])
    text = f"{len(content['checked'])} comparisons, {different} with different bits"
    if not content["complete"]:
        return Goal(name, "equal", f"{text}, interrupted", False if different else None)
    return Goal(name, "equal", text, different == 0)


def _status(name: str, file: Path) -> Goal:
    """Return a goal from a file that holds an exit status, or why there is none; it may have been cut off."""
    text = file.read_text(encoding="utf-8").strip() if file.exists() else "not run"
    if text == _CUT_OFF:
        return Goal(name, "clean", "not done when its time was over", None)
    found = {"0": "clean"}.get(text, f"exit status {text}" if text.isdigit() else text)
    return Goal(name, "clean", found, text == "0" if text.isdigit() else None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status does not depend on the goals."""
    (folder,) = map(Path, sys.argv[1:] if arguments is None else arguments)
    results = [Results.load(file) for file in sorted(folder.glob("gpu-*.json"))]
    statuses = (("tests on the GPU", folder / "tests.status"), ("memory checker", folder / "memcheck.status"))
    lines = [
        (goal.wanted, goal.name, {True: "met", False: "MISSED", None: "?"}[goal.met], goal.found)
        for goal in goals(results, folder / "bits.json", statuses)
    ]
    for gpu in dict.fromkeys(device_line(one.machine["gpu"]) for one in results if "gpu" in one.machine):
        print(gpu)
    print(table(("wanted", "goal", "", "found"), lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
