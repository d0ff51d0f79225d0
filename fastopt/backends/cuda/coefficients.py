"""Numbers that kernels read: written on the host, sent to the GPU as one small copy a step.

Kernels read them from the GPU's memory, and so a captured graph need not be captured again when they change.

The copy runs while the host goes on, perhaps to write the next step's numbers. What it reads is therefore one of
several copies in pinned memory, taken in turns, and an event after each transfer says when its copy may be written
again. From pageable memory the driver would copy aside first; but all that is documented is that it may do so, and may
then wait for the work on the stream.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..protocol import Array
from . import shim
from .buffer import DeviceBuffer
from .streams import capturing

__all__ = ["Coefficients"]

_SLOTS = 16
"""How many steps the host may be ahead of the GPU before it waits."""


class Coefficients:
    """Rows of numbers, on the host and on the GPU.

    Parameters
    ----------
    rows, columns, dtype
        What is sent.
    room
        Numbers after the rows that only kernels write.

    Attributes
    ----------
    rows : list of ndarray
        What is written on the host.
    read : list of DeviceBuffer
        The rows as kernels read them.
    table : DeviceBuffer
        All rows, one after the other, and the room.
    """

    def __init__(self, rows: int, columns: int, dtype: np.dtype[Any], room: int = 0) -> None:
        self._packed = np.zeros((rows, columns), dtype)
        self.rows: list[Array] = list(self._packed)
        self.table = DeviceBuffer(shim.empty(rows * columns + room, dtype))
        self.read = [self.table[k * columns : (k + 1) * columns] for k in range(rows)]
        self._sent = self.table[: rows * columns].array
        self._turn = 0

    @cached_property
    def _slots(self) -> list[tuple[Array, Any]]:
        """Copies in pinned memory, each with the event after its last transfer; made when the first is sent."""
        values = shim.pinned(_SLOTS * self._packed.nbytes).view(self._packed.dtype)
        return [(own, shim.event()) for own in values.reshape(_SLOTS, self._packed.size)]

    def send(self, gradients: DeviceBuffer) -> None:
        """Have what comes on the stream of the gradients' owner read what is in the rows now.

        Raises
        ------
        RuntimeError
            The stream is being captured: a replay would send the numbers of that moment, or of some later one.
        """
        stream = gradients.stream()
        if capturing() or shim.is_capturing(stream):
            raise RuntimeError(
                "a step's coefficients cannot be captured, since they are others in each: have the optimizer's "
                "launch(gradients) captured, and call its prepare() before each replay; or use its capture(gradients)"
            )
        if not self._packed.size:
            return
        values, sent = self._slots[self._turn]
        sent.synchronize()
        values[:] = self._packed.reshape(-1)
        self._sent.copy_to_device(values, stream=stream)
        sent.record(stream)
        self._turn = (self._turn + 1) % _SLOTS
