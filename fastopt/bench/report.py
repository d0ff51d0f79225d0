"""Tables of results, as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from .cases import KINDS
from .results import Results
from .rows import Row, best_peer, of_role
from .starts import KINDS as START_KINDS
from .timing import paired_ratio

__all__ = ["report", "share_of_roof", "speed_against_peers"]

_STEP_TITLES = ("size", "contender", "µs", "p10–p90", "GB/s", "of roof", "best peer takes")
_TRAIN_TITLES = ("batch", "contender", "samples/s", "p10–p90", "step p50/p99 µs", "MB", "best peer's speed × ")
_START_TITLES = ("cache", "contender", "ms", "p10–p90")
_MEMORY_TITLES = ("batch", "contender", "MB", "p10–p90", "bound")


def report(results: Results) -> str:
    """Return the heading, a table for each kind of case, and what is missing or wrong."""
    parts = [_heading(results)]
    parts += {"step": _step_tables, "train": _train_tables, "start": _start_tables}[results.suite](results)
    parts.append("\n".join(_remarks(results)))
    return "\n\n".join(filter(None, parts))


def share_of_roof(row: Row, rows: list[Row]) -> float | None:
    """Return the roof's time over this row's, round by round; None where there is no roof."""
    roofs = of_role(rows, "roof")
    if not roofs or not row.timed or row.role == "roof":
        return None
    return paired_ratio(roofs[0].seconds["rounds"], row.seconds["rounds"])


def speed_against_peers(row: Row, rows: list[Row]) -> tuple[float, str] | None:
    """Return how many times as long the fastest peer takes, and its name; None for a peer, or without one."""
    peer = best_peer(rows)
    if peer is None or not row.timed or row.role != "own":
        return None
    return paired_ratio(peer.seconds["rounds"], row.seconds["rounds"]), peer.contender


def _heading(results: Results) -> str:
    machine = results.machine
    names = sorted(results.versions.items())
    commit = results.commit or {}
    at = f", commit {commit['commit'][:10]}{' and changes' if commit['dirty'] else ''}" if commit else ""
    return "\n".join(
        [
            f"{results.command}  ({results.date}{at})",
            f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['memory_gb']} GB, "
            f"{machine['system']}",
            ", ".join(f"{name} {version}" for name, version in names),
        ]
    )


def _step_tables(results: Results) -> list[str]:
    cases = results.by_case()
    return [
        _step_table(kind, list(group))
        for kind, group in groupby(cases, key=lambda rows: _heading_of(rows[0].case))
        if kind
    ]


def _heading_of(case: Any) -> tuple[str, ...]:
    return case["kind"], case["rule"], case["dtype"], str(case["threads"])


def _step_table(kind: tuple[str, ...], cases: list[list[Row]]) -> str:
    name, rule, dtype, threads = kind
    title = f"{rule}, {dtype}, {threads} thread{'s' if threads != '1' else ''}: {KINDS[name]}"
    lines = [_step_line(row, rows) for rows in cases for row in rows]
    return f"{title}\n{_table(_STEP_TITLES, lines)}"


def _step_line(row: Row, rows: list[Row]) -> list[str]:
    size = f"{row.case['size']:,}"
    if not row.timed:
        return [size, row.contender, row.status, "", "", "", row.note]
    share, against = share_of_roof(row, rows), speed_against_peers(row, rows)
    return [
        size,
        row.contender,
        _micro(row.median),
        f"{_micro(row.seconds['p10'])}–{_micro(row.seconds['p90'])}",
        f"{row.figures['bytes'] / row.median / 1e9:.1f}",
        "" if share is None else f"{share:.0%}",
        "" if against is None else f"{against[0]:.2f} × as long ({against[1]})",
    ]


def _train_tables(results: Results) -> list[str]:
    cases = results.by_case()
    tables = []
    for network, group in groupby(cases, key=lambda rows: _network(rows[0].case)):
        lines = [_train_line(row, rows) for rows in group for row in rows]
        tables.append(f"{network}, Adam, float32\n{_table(_TRAIN_TITLES, lines)}")
    return tables


def _train_line(row: Row, rows: list[Row]) -> list[str]:
    batch = str(row.case["batch"])
    if not row.timed:
        return [batch, row.contender, row.status, "", "", "", row.note]
    samples, against = row.figures["samples"], speed_against_peers(row, rows)
    steps = [row.figures.get(name) for name in ("step_p50", "step_p99")]
    return [
        batch,
        row.contender,
        f"{samples / row.median:,.0f}",
        f"{samples / row.seconds['p90']:,.0f}–{samples / row.seconds['p10']:,.0f}",
        "/".join(_micro(seconds) for seconds in steps if seconds),
        f"{row.figures['peak_bytes'] / 1e6:.0f}",
        "" if against is None else f"{against[0]:.2f} ({against[1]})",
    ]


def _start_tables(results: Results) -> list[str]:
    tables = []
    for (kind, network), group in groupby(results.rows, key=lambda row: (row.case["kind"], _network(row.case))):
        title = ", ".join(filter(None, (START_KINDS[kind], network)))
        titles, line = (_MEMORY_TITLES, _memory_line) if kind == "memory" else (_START_TITLES, _start_line)
        tables.append(f"{title}\n{_table(titles, map(line, group))}")
    return tables


def _start_line(row: Row) -> list[str]:
    if not row.timed:
        return [row.case["cache"], row.contender, row.status, row.note]
    low, middle, high = (f"{1e3 * row.seconds[name]:,.1f}" for name in ("p10", "median", "p90"))
    return [row.case["cache"], row.contender, middle, f"{low}–{high}"]


def _memory_line(row: Row) -> list[str]:
    batch = str(row.case["batch"])
    if not row.timed:
        return [batch, row.contender, row.status, "", row.note]
    low, middle, high = (f"{row.figures['bytes'][name] / 1e6:.2f}" for name in ("p10", "median", "p90"))
    return [batch, row.contender, middle, f"{low}–{high}", f"{row.figures['bound_bytes'] / 1e6:.2f}"]


def _remarks(results: Results) -> Iterator[str]:
    if results.suite == "step":
        yield from _denormal_remarks(results)
        yield from _thread_remarks(results)
        yield from _overhead_remarks(results)
        if "roof" in results.missing:
            yield f"no roof: {results.missing['roof']}"
    for name, reason in results.missing.items():
        if name != "roof":
            yield f"missing: {name}: {reason}"
    for row in results.rows:
        if row.status != "ok":
            yield f"{row.status}: {row.contender} on {_case_name(row.case)}: {row.note}"


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
            yield f"a call of {row.contender}, {row.case['rule']} {row.case['dtype']}: {_micro(row.median)} µs"


def _against_ordinary(results: Results, kind: str) -> Iterator[tuple[Row, float]]:
    """Yield the rows of that kind with their time over the ordinary step's, round by round.

    In files from before these were timed together there are none.
    """
    for row in results.rows:
        if row.timed and row.case["kind"] == kind and "ordinary" in row.figures:
            yield row, paired_ratio(row.seconds["rounds"], row.figures["ordinary"]["rounds"])


def _named(row: Row) -> str:
    return f"{row.contender}, {row.case['rule']} {row.case['dtype']}, {row.case['size']:,} parameters,"


def _case_name(case: Any) -> str:
    if case["suite"] == "step":
        return f"{case['kind']} of {case['rule']} {case['dtype']}, {case['size']:,} parameters"
    network = f"{_network(case)}, batch {case['batch']}"
    if case["suite"] == "train":
        return network
    start = f"{case['kind']} with {case['cache']} cache"
    return f"{start}, {network}" if case["sizes"] else start


def _network(case: Any) -> str:
    return "-".join(map(str, case["sizes"]))


def _micro(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:,.2f}" if micro < 10 else f"{micro:,.1f}" if micro < 1000 else f"{micro:,.0f}"


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return aligned columns: names to the left, numbers to the right."""
    rows = [list(titles), *map(list, lines)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(titles) - 1)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(w) if k == 1 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=False))
        ]
        return "  ".join([*cells, row[-1]]).rstrip()

    return "\n".join(map(line, rows))
