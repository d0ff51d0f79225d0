"""The numbers that passes read: written on the host, sent to the GPU as one small copy a step.

Kernels read them from the GPU's memory, and so a captured graph need not be captured anew when they change.

The copy runs while the host goes on, perhaps to write the next step's numbers. What it reads is therefore one of
several copies in pinned memory, taken in turns, and an event behind each transfer says when its copy may be written
again. From pageable memory the driver would copy aside first; but all that is documented is that it may do so, and may
then wait for the work on the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..protocol import Array
from . import shim
from .buffer import DeviceBuffer
from .streams import capturing

__all__ = ["Coefficients"]

_SLOTS = 16
"""How many steps the host may be ahead of the GPU before it waits."""

_LIMITS = 4
"""Numbers in front of the rows, of which three are used: rows then begin at a multiple of 32 bytes."""


class Coefficients:
    """A row of coefficients for each span, on the host and on the GPU.

    Attributes
    ----------
    rows : list of ndarray
        What is written on the host.
    read : list of DeviceBuffer
        The rows as kernels read them.
    table, limits : DeviceBuffer
        All rows, one behind the other, and the three limits in float64, as kernels read them.
    """

    def __init__(self, rows: int, columns: int, dtype: np.dtype[Any]) -> None:
        front = _LIMITS * 8
        size = front + rows * columns * dtype.itemsize
        self._packed = np.zeros(size, np.uint8)
        self._limits = self._packed[:front].view(np.float64)
        self.rows: list[Array] = list(self._packed[front:].view(dtype).reshape(rows, columns))
        self._sent = DeviceBuffer(shim.empty(size, self._packed.dtype))
        address, keep = self._sent.address, self._sent
        self.limits = DeviceBuffer(shim.array_view(address, _LIMITS, np.dtype(np.float64), keep))
        self.table = DeviceBuffer(shim.array_view(address + front, rows * columns, dtype, keep))
        self.read = [self.table[k * columns : (k + 1) * columns] for k in range(rows)]
        self._slots = [(values, shim.event()) for values in shim.pinned(_SLOTS * size).reshape(_SLOTS, size)]
        self._turn = 0

    def send(self, gradients: DeviceBuffer, limits: Sequence[float]) -> None:
        """Have what comes on the stream of the gradients' owner read these limits, and what is in the rows now.

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
        self._limits[: len(limits)] = limits
        values, sent = self._slots[self._turn]
        sent.synchronize()
        values[:] = self._packed
        self._sent.array.copy_to_device(values, stream=stream)
        sent.record(stream)
        self._turn = (self._turn + 1) % _SLOTS
