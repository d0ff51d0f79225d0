"""Pictures of results: GB/s by size with the roof, samples a second by batch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from .gpu.tables import device_line
from .results import Results
from .rows import Row, share_of_roof

__all__ = ["draw"]

_OWN = {
    "fastopt-numba": "tab:red",
    "fastopt-c": "tab:orange",
    "fastopt-reference": "tab:pink",
    "fastopt-cuda": "tab:red",
}
_ROOFS = ("roof", "cuda-roof")
_PEERS = ("tab:blue", "tab:cyan", "navy", "tab:purple", "violet", "tab:green", "tab:olive", "tab:gray", "tab:brown")


def draw(results: Results, path: Path) -> None:
    """Draw a picture whose format `path` ends on.

    Raises
    ------
    ValueError
        There is nothing to draw.
    """
    from matplotlib.figure import Figure

    kinds: dict[str, Callable[[Results], list[list[Any]]]] = {
        "step": _step_panels,
        "gpu": _step_panels,
        "train": _train_panels,
    }
    panels = kinds[results.suite](results) if results.suite in kinds else []
    if not panels:
        raise ValueError(f"{path}: nothing to draw; the results have no row of a kind that is drawn, and right")
    figure = Figure(figsize=(6.4 * len(panels[0]), 3.8 * len(panels)), layout="constrained")
    machine = results.machine
    on = device_line(machine["gpu"]) if "gpu" in machine else f"{machine['cpu']}, {machine['threads']} threads"
    figure.suptitle(f"{on}, {results.date[:10]}")
    grid = figure.subplots(len(panels), len(panels[0]), squeeze=False)
    for line, axes_of_line in zip(panels, grid, strict=True):
        for (title, draw_panel), axes in zip(line, axes_of_line, strict=True):
            draw_panel(axes)
            axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)


def _step_panels(results: Results) -> list[list[Any]]:
    cases = [rows for rows in results.by_case() if rows[0].case["kind"] == "step"]
    panels = []
    for (rule, dtype), group in groupby(cases, key=lambda rows: (rows[0].case["rule"], rows[0].case["dtype"])):
        kept = list(group)
        bandwidth = (f"{rule}, {dtype}: GB/s", lambda axes, kept=kept: _bandwidth(axes, kept))
        shares = (f"{rule}, {dtype}: share of the roof", lambda axes, kept=kept: _shares(axes, kept))
        panels.append([bandwidth, shares])
    return panels


def _bandwidth(axes: Any, cases: list[list[Row]]) -> None:
    names = _names(cases)
    for name in names:
        found = [row for rows in cases for row in rows if row.contender == name]
        values = [row.figures["bytes"] / row.median / 1e9 for row in found]
        axes.plot([row.case["size"] for row in found], values, label=name, **_look(name, names))
    _by_size(axes, "GB/s")


def _shares(axes: Any, cases: list[list[Row]]) -> None:
    names = _names(cases)
    for name in names:
        pairs = [(row, share_of_roof(row, rows)) for rows in cases for row in rows if row.contender == name]
        kept = [(row.case["size"], 100 * share) for row, share in pairs if share is not None]
        if kept:
            axes.plot(*zip(*kept, strict=True), label=name, **_look(name, names))
    axes.axhline(100, color="black", linestyle="--", linewidth=1)
    _by_size(axes, "% of the roof")


def _by_size(axes: Any, label: str) -> None:
    axes.set(xscale="log", xlabel="parameters", ylabel=label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


def _train_panels(results: Results) -> list[list[Any]]:
    panels = []
    for sizes, group in groupby(results.by_case(), key=lambda rows: rows[0].case["sizes"]):
        kept = list(group)
        panels.append([("-".join(map(str, sizes)), lambda axes, kept=kept: _bars(axes, kept))])
    return panels


def _bars(axes: Any, cases: list[list[Row]]) -> None:
    names = _names(cases)
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        found = [(k, row) for k, rows in enumerate(cases) for row in rows if row.contender == name]
        places = [k + (number - (len(names) - 1) / 2) * width for k, _ in found]
        speeds = [row.figures["samples"] / row.median for _, row in found]
        axes.bar(places, speeds, width, label=name, color=_colour(name, names))
    axes.set_xticks(range(len(cases)), [str(rows[0].case["batch"]) for rows in cases])
    axes.set(yscale="log", xlabel="batch", ylabel="samples/s")
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _names(cases: list[list[Row]]) -> list[str]:
    return list(dict.fromkeys(row.contender for rows in cases for row in rows))


def _look(name: str, names: list[str]) -> dict[str, Any]:
    if name in _ROOFS:
        return {"color": "black", "linestyle": "--"}
    own = {"marker": "o"} if name in _OWN else {"marker": ".", "linewidth": 1}
    return {"color": _colour(name, names), **own}


def _colour(name: str, names: list[str]) -> str:
    peers = [other for other in names if other not in _OWN and other not in _ROOFS]
    return _OWN[name] if name in _OWN else _PEERS[peers.index(name) % len(_PEERS)]
