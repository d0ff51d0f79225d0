"""Tables of results, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from .cases import KINDS
from .gpu.tables import device_line, gpu_remarks, gpu_tables
from .results import Results
from .rows import Row, share_of_roof, speed_against_peers
from .starts import KINDS as START_KINDS
from .text import micro, table
from .timing import paired_ratio

__all__ = ["report"]

_STEP_TITLES = ("size", "contender", "µs", "p10–p90", "GB/s", "of roof", "best peer takes")
_TRAIN_TITLES = ("batch", "contender", "samples/s", "p10–p90", "step p50/p99 µs", "MB", "best peer's speed × ")
_START_TITLES = ("cache", "contender", "ms", "p10–p90")
_MEMORY_TITLES = ("batch", "contender", "MB", "p10–p90", "bound")


def report(results: Results) -> str:
    """Return the heading, a table for each kind of case, and remarks: what is missing or wrong, each reason once."""
    parts = [_heading(results)]
    parts += _TABLES[results.suite](results)
    parts.append("\n".join(_remarks(results)))
    return "\n\n".join(filter(None, parts))


def _heading(results: Results) -> str:
    machine = results.machine
    names = sorted(results.versions.items())
    commit = results.commit or {}
    at = f", commit {commit['commit'][:10]}{' and changes' if commit['dirty'] else ''}" if commit else ""
    return "\n".join(
        [
            *([device_line(machine["gpu"])] if "gpu" in machine else []),
            f"{results.command}  ({results.date}{at})",
            f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['memory_gb']} GB, "
            f"{machine['system']}",
            ", ".join(f"{name} {version}" for name, version in names),
        ]
    )


def _step_tables(results: Results) -> list[str]:
    groups = groupby(results.by_case(), key=lambda rows: _heading_of(rows[0].case))
    return [_step_table(kind, list(group)) for kind, group in groups]


def _heading_of(case: Any) -> tuple[str, ...]:
    states = f" with states of {case['states']}" if case.get("states") else ""
    return case["kind"], case["rule"], f"{case['dtype']}{states}", str(case["threads"])


def _step_table(kind: tuple[str, ...], cases: list[list[Row]]) -> str:
    name, rule, dtype, threads = kind
    title = f"{rule}, {dtype}, {threads} thread{'s' if threads != '1' else ''}: {KINDS[name]}"
    lines = [_step_line(row, rows) for rows in cases for row in rows]
    return f"{title}\n{table(_STEP_TITLES, lines)}"


def _step_line(row: Row, rows: list[Row]) -> list[str]:
    share, against = share_of_roof(row, rows), speed_against_peers(row, rows)
    return [
        f"{row.case['size']:,}",
        row.contender,
        micro(row.median),
        f"{micro(row.seconds['p10'])}–{micro(row.seconds['p90'])}",
        f"{row.figures['bytes'] / row.median / 1e9:.1f}",
        "" if share is None else f"{share:.0%}",
        "" if against is None else f"{against[0]:.2f} × as long ({against[1]})",
    ]


def _train_tables(results: Results) -> list[str]:
    tables = []
    for network, group in groupby(results.by_case(), key=lambda rows: _network(rows[0].case)):
        lines = [_train_line(row, rows) for rows in group for row in rows]
        tables.append(f"{network}, Adam, float32\n{table(_TRAIN_TITLES, lines)}")
    return tables


def _train_line(row: Row, rows: list[Row]) -> list[str]:
    samples, against = row.figures["samples"], speed_against_peers(row, rows)
    steps = [row.figures.get(name) for name in ("step_p50", "step_p99")]
    return [
        str(row.case["batch"]),
        row.contender,
        f"{samples / row.median:,.0f}",
        f"{samples / row.seconds['p90']:,.0f}–{samples / row.seconds['p10']:,.0f}",
        "/".join(micro(seconds) for seconds in steps if seconds),
        f"{row.figures['peak_bytes'] / 1e6:.0f}",
        "" if against is None else f"{against[0]:.2f} ({against[1]})",
    ]


def _start_tables(results: Results) -> list[str]:
    tables = []
    timed = [row for row in results.rows if row.timed]
    for (kind, network), group in groupby(timed, key=lambda row: (row.case["kind"], _network(row.case))):
        title = ", ".join(filter(None, (START_KINDS[kind], network)))
        titles, line = (_MEMORY_TITLES, _memory_line) if kind == "memory" else (_START_TITLES, _start_line)
        tables.append(f"{title}\n{table(titles, map(line, group))}")
    return tables


def _start_line(row: Row) -> list[str]:
    low, middle, high = (f"{1e3 * row.seconds[name]:,.1f}" for name in ("p10", "median", "p90"))
    return [row.case["cache"], row.contender, middle, f"{low}–{high}"]


def _memory_line(row: Row) -> list[str]:
    low, middle, high = (f"{row.figures['bytes'][name] / 1e6:.2f}" for name in ("p10", "median", "p90"))
    return [str(row.case["batch"]), row.contender, middle, f"{low}–{high}", f"{row.figures['bound_bytes'] / 1e6:.2f}"]


_TABLES: dict[str, Callable[[Results], list[str]]] = {
    "step": _step_tables,
    "train": _train_tables,
    "start": _start_tables,
    "gpu": gpu_tables,
}


def _remarks(results: Results) -> Iterator[str]:
    if results.suite == "step":
        yield from _denormal_remarks(results)
        yield from _thread_remarks(results)
        yield from _overhead_remarks(results)
        if "roof" in results.missing:
            yield f"no roof: {results.missing['roof']}"
    if results.suite == "gpu":
        yield from gpu_remarks(results)
    for name, reason in results.missing.items():
        if name != "roof":
            yield f"missing: {name}: {reason}"
    yield from _reasons(results)


def _denormal_remarks(results: Results) -> Iterator[str]:
    for row, ratio in _against_ordinary(results, kind="denormal"):
        yield f"denormal states: {_named(row)} takes {ratio:.2f} times as long as on normal ones"


def _thread_remarks(results: Results) -> Iterator[str]:
    threads = results.machine["threads"]
    for row, ratio in _against_ordinary(results, kind="threads"):
        yield f"threads: {_named(row)} is {ratio:.2f} times as fast on {threads} threads as on one"


def _overhead_remarks(results: Results) -> Iterator[str]:
    for row in results.rows:
        if row.timed and row.case["kind"] == "overhead":
            yield f"a call of {row.contender}, {row.case['rule']} {row.case['dtype']}: {micro(row.median)} µs"


def _against_ordinary(results: Results, kind: str) -> Iterator[tuple[Row, float]]:
    """Yield the rows of that kind with their time over the ordinary step's, round by round.

    In files from before these were timed together there are none.
    """
    for row in results.rows:
        if row.timed and row.case["kind"] == kind and "ordinary" in row.figures:
            yield row, paired_ratio(row.seconds["rounds"], row.figures["ordinary"]["rounds"])


def _reasons(results: Results) -> Iterator[str]:
    """Yield why rows have no time: one sentence for all cases of a rule or a network with the same reason."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in results.rows:
        if not row.timed:
            subject = row.case["rule"] if "rule" in row.case else _network(row.case)
            groups.setdefault((row.status, row.contender, subject, row.note), []).append(_case_name(row.case))
    for (status, contender, subject, note), names in groups.items():
        where = names[0] if len(names) == 1 else f"{len(names)} cases of {subject}"
        yield f"{status}: {contender} on {where}: {note}"


def _named(row: Row) -> str:
    return f"{row.contender}, {row.case['rule']} {row.case['dtype']}, {row.case['size']:,} parameters,"


def _case_name(case: Any) -> str:
    if case["suite"] in ("step", "gpu"):
        return f"{case['kind']} of {case['rule']} {case['dtype']}, {case['size']:,} parameters"
    network = f"{_network(case)}, batch {case['batch']}"
    if case["suite"] == "train":
        return network
    start = f"{case['kind']} with {case['cache']} cache"
    return f"{start}, {network}" if case["sizes"] else start


def _network(case: Any) -> str:
    return "-".join(map(str, case["sizes"]))
