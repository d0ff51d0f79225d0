"""A result file: the machine, the versions, the commit, the command, and every row with its raw medians. JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .contenders import distributions
from .machine import describe_machine, git_commit, versions
from .rows import Row

__all__ = ["SCHEMA", "Results", "new_results", "without_folders"]

SCHEMA = 1
"""Version of the file's form; raised when a reader of the old one would misread the new one."""

_PACKAGES = (
    *("numpy", "numba", "llvmlite", "cffi", "scipy"),
    *("numba-cuda", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-nvvm", "nvidia-nvjitlink"),
)
"""Distributions whose versions a file holds, besides those that the contenders need."""

_ROOFS = ("device", "roof")
_KEYS = ("schema", "suite", "date", "command", "machine", "versions", "commit", "missing", "roof", "rows")


@dataclass
class Results:
    """The results of a benchmark.

    Attributes
    ----------
    suite
        ``"step"``, ``"gpu"`` (steps there), ``"train"`` or ``"start"``.
    date
        Of its beginning, in UTC.
    command
        The command line, without folders.
    machine, versions
        As :mod:`fastopt.bench.machine` gives them; ``gpu`` is the machine's GPU, where it took part.
    commit
        Commit and whether the tree differed from it; None outside a checkout.
    missing
        Contender to the reason why it is not in the rows.
    rows
        All of them, the roof's among them.
    """

    suite: str
    date: str
    command: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: Mapping[str, Any] | None
    missing: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def by_case(self) -> list[list[Row]]:
        """Return the rows of each case that may be compared, in the order of the cases."""
        groups: dict[str, list[Row]] = {}
        for row in filter(lambda row: row.timed, self.rows):
            groups.setdefault(json.dumps(row.case, sort_keys=True), []).append(row)
        return list(groups.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the values for :meth:`from_dict`."""
        rows = [row.as_dict() for row in self.rows]
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in _KEYS if name not in ("schema", "roof", "rows")},
            "roof": [row for row in rows if row["role"] in _ROOFS],
            "rows": [row for row in rows if row["role"] not in _ROOFS],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Results:
        """Return the results that :meth:`as_dict` gave, by way of JSON.

        Raises
        ------
        ValueError
            It is of another form.
        """
        if values.get("schema") != SCHEMA:
            raise ValueError(f"got schema {values.get('schema')!r}, expected {SCHEMA}; run the benchmark again")
        lost = [name for name in _KEYS if name not in values]
        if lost:
            raise ValueError(f"it lacks {', '.join(lost)}")
        fields = {name: values[name] for name in _KEYS if name not in ("schema", "roof", "rows")}
        return cls(**fields, rows=[Row(**row) for row in (*values["roof"], *values["rows"])])

    def save(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read the file.

        Raises
        ------
        ValueError
            It is no result file.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: this is no result file of 'fastopt bench': {error}") from error


def new_results(suite: str, arguments: Sequence[str], threads: int) -> Results:
    """Return results without rows, of this machine and moment."""
    return Results(
        suite=suite,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(["fastopt", *without_folders(arguments)]),
        machine=describe_machine(threads),
        versions=versions({*_PACKAGES, *distributions()}),
        commit=git_commit(),
    )


def without_folders(arguments: Iterable[str]) -> list[str]:
    """Return arguments in which paths are names of files: folders are private.

    Examples
    --------
    >>> without_folders(["--rule", "/home/somebody/rules.py:mine", "--out", "a.json"])
    ['--rule', 'rules.py:mine', '--out', 'a.json']
    """
    return [Path(argument).name or argument for argument in arguments]
