"""A row of a result: one contender on one case, measured, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Row", "best_peer", "of_role"]


@dataclass(frozen=True)
class Row:
    """One contender on one case.

    Attributes
    ----------
    case
        The case, by name of its fields.
    contender, role
        Who; ``"own"``, ``"peer"`` or ``"roof"``.
    status
        ``"ok"``, ``"wrong"`` for a result that failed its check, or ``"failed"``.
    note
        What was wrong.
    seconds
        A :class:`~fastopt.bench.timing.Summary` by name of its fields: seconds a step, or a round of training.
    figures
        What else was found: ``bytes``, ``error``, ``loss``, ``peak_bytes``, …; ``ordinary`` is the summary of the
        ordinary step that was timed together with this one.
    """

    case: Mapping[str, Any]
    contender: str
    role: str
    status: str
    note: str = ""
    seconds: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Whether its time may be compared."""
        return self.status == "ok"

    @property
    def median(self) -> float:
        """Seconds."""
        return float(self.seconds["median"])

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def of_role(rows: list[Row], role: str) -> list[Row]:
    """Return the rows of one case that are of that role and may be compared."""
    return [row for row in rows if row.role == role and row.timed]


def best_peer(rows: list[Row]) -> Row | None:
    """Return the fastest peer of one case; None where none was right."""
    return min(of_role(rows, "peer"), key=lambda row: row.median, default=None)
