"""Losses: the mean over a batch and its gradient with respect to the outputs, in one call and without allocation.

The cross-entropies take logits, so that no finite output can overflow: an exponent is always at most zero.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import elements
from .arrays import exp_of, on_arrays, row_blocks, sigmoid_of
from .checks import as_real, convert

__all__ = ["LOSSES", "Loss", "LossOfProbabilities", "LossOfValues", "LossScratch", "SoftmaxCrossEntropy", "get_loss"]

Array = NDArray[Any]


class LossScratch:
    """Memory that a loss works in, for up to `max_batch` rows of `n_outputs` numbers."""

    def __init__(self, max_batch: int, n_outputs: int, dtype: np.dtype[Any]) -> None:
        self.flags = np.empty((2, max_batch, n_outputs), np.bool_)
        self.row_flags = np.empty(max_batch, np.bool_)
        self.rows = np.empty((2, max_batch), dtype)
        self.wide_rows = np.empty((2, max_batch), np.float64)
        self.index = np.empty(max_batch, np.intp)
        self.starts = np.arange(max_batch, dtype=np.intp) * n_outputs

    @classmethod
    def like(cls, outputs: Array) -> LossScratch:
        """Return scratch for arrays of the shape and dtype of `outputs`."""
        batch, n_outputs = outputs.shape
        return cls(batch, n_outputs, outputs.dtype)


class Loss(ABC):
    """A loss over outputs of shape (b, n_outputs), the same for every batch size since it is a mean.

    Made by :func:`get_loss`.

    Attributes
    ----------
    element : fastopt.elements.Loss
        What it consists of.
    name, equation : str
        Those of `element`.
    from_logits : bool
        Whether the outputs are logits, which a network gives only without an output activation.
    """

    from_logits: bool

    def __init__(self, element: elements.Loss) -> None:
        self.element, self.name, self.equation = element, element.name, element.equation

    @abstractmethod
    def check_targets(self, targets: object, n_outputs: int, dtype: np.dtype[Any]) -> Array:
        """Return `targets` in the form that the other methods take, or say what is wrong with them.

        Raises
        ------
        TypeError
            They are of a kind of number that the loss cannot use.
        ValueError
            Their shape does not fit, they are empty, or a value is NaN, Inf or out of range.
        """

    @abstractmethod
    def loss_and_gradient(
        self, outputs: Array, targets: Array, gradient_out: Array, scratch: LossScratch | None = None
    ) -> float:
        """Return the mean loss and write its derivative by each output into `gradient_out`, which may be `outputs`."""

    @abstractmethod
    def correct(self, outputs: Array, targets: Array, scratch: LossScratch | None = None) -> int | None:
        """Return how many rows are predicted right, or None where there is no right and wrong."""

    def counts_correct(self, targets: Array) -> bool:
        """Return whether there is right and wrong for targets of this form."""
        return True

    @abstractmethod
    def predict(self, outputs: Array) -> Array:
        """Return the predictions that `outputs` stand for; of shape (b,) where there is one for each row."""

    @abstractmethod
    def probabilities(self, outputs: Array) -> Array:
        """Return the probabilities that `outputs` stand for; of shape (b,) when there is one output."""

    def __repr__(self) -> str:
        return f"<loss {self.name}: {self.equation}>"


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of the softmax of logits z with class indices y, of shape (b,).

    Examples
    --------
    >>> loss = get_loss("softmax_cross_entropy")
    >>> gradient = np.empty((1, 2))
    >>> round(loss.loss_and_gradient(np.array([[1e4, 0.0]]), np.array([1]), gradient), 6)
    10000.0
    >>> gradient
    array([[ 1., -1.]])
    """

    from_logits = True

    def check_targets(self, targets: object, n_outputs: int, dtype: np.dtype[Any]) -> Array:
        return _class_indices(as_real("y", targets), n_outputs)

    def loss_and_gradient(
        self, outputs: Array, targets: Array, gradient_out: Array, scratch: LossScratch | None = None
    ) -> float:
        scratch = scratch or LossScratch.like(outputs)
        batch = len(outputs)
        top, row = scratch.rows[0, :batch], scratch.rows[1, :batch]
        loss, sums = scratch.wide_rows[0, :batch], scratch.wide_rows[1, :batch]
        np.max(outputs, axis=1, out=top)
        index = _target_index(targets, scratch)
        np.take(outputs, index, out=row, mode="clip")
        np.subtract(top, row, out=loss, dtype=np.float64)
        _exp_below(outputs, top, gradient_out)
        np.sum(gradient_out, axis=1, dtype=np.float64, out=sums)
        np.divide(1.0 / batch, sums, out=row)
        np.multiply(gradient_out, row[:, None], out=gradient_out)
        _subtract_at(gradient_out, index, 1.0 / batch, row)
        np.add(loss, np.log(sums, out=sums), out=loss)
        return float(np.sum(loss)) / batch

    def correct(self, outputs: Array, targets: Array, scratch: LossScratch | None = None) -> int:
        return _count_argmax(outputs, targets, scratch or LossScratch.like(outputs))

    def predict(self, outputs: Array) -> Array:
        """Return the class index of each row, of shape (b,)."""
        return _argmax(outputs)

    def probabilities(self, outputs: Array) -> Array:
        """Return the softmax of each row, of shape (b, n_outputs)."""
        result = np.empty_like(outputs)
        _exp_below(outputs, np.max(outputs, axis=1), result)
        result /= np.sum(result, axis=1, keepdims=True)
        return result


class _ElementLoss(Loss):
    """The mean of a scalar function of outputs z and targets y over all outputs."""

    element: elements.ElementLoss

    def __init__(self, element: elements.ElementLoss) -> None:
        super().__init__(element)
        shared = element.intermediate
        self._value, self._slope = on_arrays(element.value), on_arrays(element.slope)
        self._names = tuple(inspect.signature(element.value).parameters)
        self._shared = (shared.__name__, on_arrays(shared)) if shared else None

    def loss_and_gradient(
        self, outputs: Array, targets: Array, gradient_out: Array, scratch: LossScratch | None = None
    ) -> float:
        total, share = 0.0, 1.0 / outputs.size
        for part in row_blocks(outputs):
            given = {"z": outputs[part], "y": self._rows(targets[part], outputs)}
            if self._shared:
                name, function = self._shared
                given[name] = function(**given)
            total += float(np.sum(self._value(**{name: given[name].astype(np.float64) for name in self._names})))
            gradient_out[part] = self._slope(**given) * share
        return total / outputs.size

    def _rows(self, targets: Array, outputs: Array) -> Array:
        """Return a target for each output."""
        return targets


class LossOfProbabilities(_ElementLoss):
    """A loss between probabilities of which the outputs are the logits, and targets in [0, 1].

    Examples
    --------
    >>> loss = get_loss("binary_cross_entropy")
    >>> gradient = np.empty((2, 1))
    >>> loss.loss_and_gradient(np.array([[0.0], [1e4]]), np.array([[1.0], [0.0]]), gradient)
    5000.34657359028
    >>> gradient
    array([[-0.25],
           [ 0.5 ]])
    """

    from_logits = True

    def check_targets(self, targets: object, n_outputs: int, dtype: np.dtype[Any]) -> Array:
        array = convert("y", _matrix(as_real("y", targets), n_outputs), dtype)
        wrong = (array < 0) | (array > 1)
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"y: got {array[row, column]} at row {row}, column {column}, expected numbers from 0 to 1, "
                f"since {self.name} takes probabilities"
            )
        return array

    def correct(self, outputs: Array, targets: Array, scratch: LossScratch | None = None) -> int:
        """Return how many rows have every output on the right side of probability 1/2."""
        scratch = scratch or LossScratch.like(outputs)
        batch = len(outputs)
        said, wanted, rows = scratch.flags[0, :batch], scratch.flags[1, :batch], scratch.row_flags[:batch]
        np.greater_equal(outputs, 0.0, out=said)
        np.greater_equal(targets, 0.5, out=wanted)
        np.equal(said, wanted, out=said)
        return int(np.count_nonzero(np.all(said, axis=1, out=rows)))

    def predict(self, outputs: Array) -> Array:
        """Return 1 where the probability is at least 1/2 and 0 elsewhere."""
        return _squeeze((outputs >= 0.0).astype(np.intp))

    def probabilities(self, outputs: Array) -> Array:
        """Return the sigmoid of each output."""
        return _squeeze(sigmoid_of(outputs))


class LossOfValues(_ElementLoss):
    """A loss between values.

    Class indices stand for one-hot rows when there are several outputs. Targets that are one-hot throughout are kept as
    class indices, which gives the same loss, and an accuracy.

    Examples
    --------
    >>> loss = get_loss("mean_squared_error")
    >>> loss.loss_and_gradient(np.array([[1.0], [4.0]]), np.array([[1.0], [2.0]]), np.empty((2, 1)))
    2.0
    """

    from_logits = False

    def check_targets(self, targets: object, n_outputs: int, dtype: np.dtype[Any]) -> Array:
        array = as_real("y", targets)
        if n_outputs > 1 and array.ndim == 1 and array.dtype.kind in "biu":
            return _class_indices(array, n_outputs)
        array = convert("y", _matrix(array, n_outputs), dtype)
        return _argmax(array) if _is_one_hot(array) else array

    def counts_correct(self, targets: Array) -> bool:
        """Return whether the targets are class indices."""
        return targets.ndim == 1

    def correct(self, outputs: Array, targets: Array, scratch: LossScratch | None = None) -> int | None:
        if not self.counts_correct(targets):
            return None
        return _count_argmax(outputs, targets, scratch or LossScratch.like(outputs))

    def predict(self, outputs: Array) -> Array:
        """Return the outputs themselves."""
        return _squeeze(outputs)

    def probabilities(self, outputs: Array) -> Array:
        """Raise ValueError: this loss knows values, not probabilities."""
        raise ValueError(
            f"{self.name} gives values and no probabilities; expected a network with "
            "softmax_cross_entropy or binary_cross_entropy, so use predict instead"
        )

    def _rows(self, targets: Array, outputs: Array) -> Array:
        if targets.ndim > 1:
            return targets
        one_hot: Array = (targets[:, None] == np.arange(outputs.shape[1])).astype(outputs.dtype)
        return one_hot


@cache
def _of(element: elements.Loss) -> Loss:
    if isinstance(element, elements.RowLoss):
        return SoftmaxCrossEntropy(element)
    return LossOfProbabilities(element) if element.probabilities else LossOfValues(element)


def get_loss(name: str | elements.Loss) -> Loss:
    """Return the loss of that name, or of ``file.py:name``, or of those scalar functions.

    Raises what :func:`fastopt.elements.get_loss` raises.

    Examples
    --------
    >>> get_loss("mean_squared_error")
    <loss mean_squared_error: (z − y)²>
    """
    return _of(elements.get_loss(name))


LOSSES: dict[str, Loss] = {name: get_loss(name) for name in elements.LOSSES}
"""Name to loss."""


def _class_indices(array: Array, n_outputs: int) -> Array:
    if array.ndim != 1:
        hint = "; for one-hot rows pass y.argmax(axis=1)" if array.shape[1:] == (n_outputs,) else ""
        hint = "; pass y.reshape(-1)" if array.shape[1:] == (1,) else hint
        raise ValueError(f"y: got shape {array.shape}, expected (rows,), one class index for each row{hint}")
    if array.dtype.kind not in "biu":
        raise TypeError(f"y: got dtype {array.dtype}, expected integer class indices; pass y.astype('int64')")
    _check_rows(array)
    wrong = (array < 0) | (array >= n_outputs)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"y: got {int(np.count_nonzero(wrong)):,} labels out of range, the first ({int(array[row])}) at row {row}; "
            f"expected 0 to {n_outputs - 1}, since there are {n_outputs} outputs"
        )
    return array.astype(np.int64, copy=False)


def _matrix(array: Array, n_outputs: int) -> Array:
    _check_rows(array)
    if n_outputs == 1 and array.ndim == 1:
        return array[:, None]
    if array.ndim != 2 or array.shape[1] != n_outputs:
        also = " or (rows,)" if n_outputs == 1 else ""
        raise ValueError(f"y: got shape {array.shape}, expected (rows, {n_outputs}){also}")
    return array


def _check_rows(array: Array) -> None:
    if not array.size:
        raise ValueError(f"y: got shape {array.shape}, expected at least one target")


def _is_one_hot(array: Array) -> bool:
    zeros, ones = np.count_nonzero(array == 0, axis=1), np.count_nonzero(array == 1, axis=1)
    return array.shape[1] > 1 and bool(np.all(ones == 1) and np.all(zeros == array.shape[1] - 1))


def _target_index(targets: Array, scratch: LossScratch) -> Array:
    """Return where each row's target lies in the flattened outputs."""
    batch = len(targets)
    return np.add(scratch.starts[:batch], targets, out=scratch.index[:batch])


def _subtract_at(array: Array, index: Array, amount: float, row: Array) -> None:
    np.take(array, index, out=row, mode="clip")
    np.subtract(row, amount, out=row)
    np.put(array, index, row)


def _exp_below(outputs: Array, top: Array, out: Array) -> None:
    """Write exp(outputs − top) into `out`, where top is the largest of each row."""
    with np.errstate(over="ignore"):  # a difference beyond the largest number is −inf, and then the smallest exponent
        np.subtract(outputs, top[:, None], out=out)
    for part in row_blocks(out):
        out[part] = exp_of(out[part])


def _count_argmax(outputs: Array, targets: Array, scratch: LossScratch) -> int:
    batch = len(outputs)
    said = np.argmax(outputs, axis=1, out=scratch.index[:batch])
    return int(np.count_nonzero(np.equal(said, targets, out=scratch.row_flags[:batch])))


def _argmax(array: Array) -> Array:
    indices: Array = np.argmax(array, axis=1)
    return indices


def _squeeze(array: Array) -> Array:
    return array[:, 0] if array.shape[1] == 1 else array
