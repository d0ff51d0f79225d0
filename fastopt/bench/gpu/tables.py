"""Tables of GPU results, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..cases import GPU_KINDS
from ..results import Results
from ..rows import Row, of_role, share_of_roof, speed_against, speed_against_peers
from ..text import micro, table

__all__ = ["copy_bandwidth", "device_line", "gpu_remarks", "gpu_tables"]

_TITLES = (
    "size",
    "contender",
    "µs",
    "p10–p90",
    "GB/s",
    "of roof",
    "of copy",
    "sets",
    "CUDA C takes",
    "best peer takes",
)
_KERNEL_TITLES = ("dtype", "rule", "contender", "registers", "bytes of local memory", "occupancy")

_COPIES = ("memcpy", "copy")


def device_line(gpu: Mapping[str, Any]) -> str:
    """Return the GPU in one line. For the simulator it begins with a warning about its figures."""
    if gpu["simulated"]:
        return f"NO GPU: {gpu['name']}; its figures say that the benchmark runs, and nothing of speed"
    parts = [
        gpu["name"],
        f"{gpu['memory_bytes'] / 2**30:.0f} GiB",
        f"{gpu['l2_bytes'] / 2**20:.0f} MiB of L2",
        f"{gpu['multiprocessors']} multiprocessors",
        f"{gpu['clock_mhz']} MHz, memory {gpu['memory_clock_mhz']} MHz",
    ]
    return ", ".join([*parts, *(f"{name.replace('_', ' ')} {gpu[name]}" for name in _DRIVER if name in gpu)])


_DRIVER = ("driver", "highest_clock", "power_limit")


def copy_bandwidth(results: Results) -> float | None:
    """Return the most bytes a second that a copy moved, the driver's or a kernel's; None where none was measured."""
    copies = [row for row in results.rows if row.timed and row.role == "device" and row.case["rule"] in _COPIES]
    return max((row.figures["bytes"] / row.median for row in copies), default=None)


def gpu_tables(results: Results) -> list[str]:
    """Return the device's memory, a table for each rule, dtype and kind, and the kernels."""
    bandwidth = copy_bandwidth(results)
    mark = " (simulated)" if results.machine["gpu"]["simulated"] else ""
    titles: dict[str, list[list[Row]]] = {}
    for rows in results.by_case():  # a case whose roof failed comes late: files begin with the roofs
        titles.setdefault(_title(rows[0].case), []).append(rows)
    tables = []
    for title, cases in titles.items():
        ordered = cases if cases[0][0].role == "device" else sorted(cases, key=lambda rows: int(rows[0].case["size"]))
        lines = [_line(row, rows, bandwidth) for rows in ordered for row in rows]
        tables.append(f"{title}{mark}\n{table(_TITLES, lines)}")
    kernels = list(dict.fromkeys(tuple(_kernel_line(row)) for row in results.rows if "kernel" in row.figures))
    return [*tables, *([f"kernels{mark}\n{table(_KERNEL_TITLES, kernels)}"] if kernels else [])]


def _title(case: Any) -> str:
    if case["kind"] == "memory":
        return f"{case['dtype']}: {GPU_KINDS['memory']}"
    return f"{case['rule']}, {case['dtype']}: {GPU_KINDS[case['kind']]}"


def _line(row: Row, rows: list[Row], bandwidth: float | None) -> list[str]:
    size, name = f"{row.case['size']:,}", row.case["rule"] if row.role == "device" else row.contender
    twin = next(iter(of_role(rows, "twin")), None)
    share, against = share_of_roof(row, rows), speed_against_peers(row, rows)
    moved = row.figures["bytes"] / row.median
    by_the_host = row.case["kind"] == "overhead"
    return [
        size,
        name,
        micro(row.median) + (" *" if row.figures.get("host_bound") else ""),
        f"{micro(row.seconds['p10'])}–{micro(row.seconds['p90'])}",
        "" if by_the_host else f"{moved / 1e9:,.1f}",
        "" if share is None else f"{share:.0%}",
        "" if bandwidth is None or by_the_host else f"{moved / bandwidth:.0%}",
        str(row.figures["sets"]),
        _times(speed_against(row, twin)),
        "" if against is None else f"{_times(against)} ({against[1]})",
    ]


def _times(found: tuple[float, str] | None) -> str:
    return "" if found is None else f"{found[0]:.2f} × as long"


def _kernel_line(row: Row) -> list[str]:
    kernel = row.figures["kernel"]
    numbers = [str(kernel["registers"]), str(kernel["local_bytes"]), f"{kernel['occupancy']:.0%}"]
    return [row.case["dtype"], row.case["rule"], row.contender, *numbers]


def gpu_remarks(results: Results) -> Iterator[str]:
    """Yield the meaning of the marks in the tables, and the cost of a launch."""
    if any(row.figures.get("host_bound") for row in results.rows):
        yield "*: the GPU waited for the host, whose time is in the figure"
    for row in results.rows:
        if row.timed and row.case["kind"] in ("launch", "overhead"):
            where = "on the host" if row.case["kind"] == "overhead" else "on the GPU"
            yield f"a step of one parameter {where}: {row.contender}, {row.case['rule']} {row.case['dtype']}: " + (
                f"{micro(row.median)} µs"
            )
