"""A row of a result: one contender on one case, measured, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .timing import paired_ratio

__all__ = ["Row", "best_peer", "of_role", "share_of_roof", "speed_against", "speed_against_peers"]


@dataclass(frozen=True)
class Row:
    """One contender on one case.

    Attributes
    ----------
    case
        The case, by name of its fields.
    contender, role
        The contender's name, and its role as :class:`~fastopt.bench.Contender` has it.
    status
        ``"ok"``, ``"wrong"`` for a result that failed its check, ``"failed"``, or ``"left out"``.
    note
        The reason, where it is not ok.
    seconds
        A :class:`~fastopt.bench.timing.Summary` by name of its fields: seconds a step, or a round of training.
    figures
        Further findings: ``bytes``, ``error``, ``loss``, ``peak_bytes``, …; ``ordinary`` is the summary of the
        ordinary step that was timed together with this one. On a GPU ``kernel`` has registers, local memory and
        occupancy, ``sets`` is how many sets of buffers took turns, and ``host_bound`` whether the GPU waited for the
        host.
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


def share_of_roof(row: Row, rows: list[Row]) -> float | None:
    """Return the roof's time over this row's, round by round; None where there is no roof."""
    roofs = of_role(rows, "roof")
    if not roofs or not row.timed or row.role == "roof":
        return None
    return paired_ratio(roofs[0].seconds["rounds"], row.seconds["rounds"])


def speed_against_peers(row: Row, rows: list[Row]) -> tuple[float, str] | None:
    """Return how many times as long the fastest peer takes, and its name; None for a peer, or without one."""
    return speed_against(row, best_peer(rows))


def speed_against(row: Row, other: Row | None) -> tuple[float, str] | None:
    """Return how many times as long another takes, and its name; None where it is none of fastopt's own rows."""
    if other is None or not row.timed or row.role != "own":
        return None
    return paired_ratio(other.seconds["rounds"], row.seconds["rounds"]), other.contender
