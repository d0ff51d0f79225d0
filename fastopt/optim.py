"""The optimizer: one rule over one flat buffer of parameters, in place."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._bfloat16 import state_dtype
from ._errors import unknown_name, whole_number
from .backends import Backend, Device, NetworkSpec, Run, Trainer, available_cores, coefficient_count, get_backend
from .buffers import Layout, Segment
from .clipping import clip_factors
from .memory import Memory, memory_of
from .rules import Hyper, Rule, check_hyper, get_rule

__all__ = ["Optimizer"]

Array = NDArray[Any]


@dataclass
class _Span:
    """A slice of the buffers that takes one array of coefficients; the passes over it come with a gradient.

    The coefficients are written here and read where the passes run.
    """

    where: slice
    group: str
    states: tuple[Array, ...]
    coefficients: Array
    read: Any
    factor: float = 1.0
    gradients: Array = field(init=False)
    run: Run = field(init=False)
    sum_of_squares: Callable[[], float] | None = None


@dataclass
class _OnDevice:
    """What limits norms where a device does it: for any gradients, and for those at hand.

    It is not the optimizer's own, since Python finds attributes more slowly in an object that has thirty or more.
    """

    device: Device
    limiter: Callable[[Sequence[Array]], Callable[[], None]] | None = None
    limit: Callable[[], None] | None = None


class Optimizer:
    """Updates a flat buffer of parameters in place, one fused pass a step.

    Before the rule sees an element of the gradient g and of the parameters p,

        g ← clip(±g · grad_scale · factor, ±clip_value)

    where the factor limits the norm; then g ← g + λp (L2 decay), or p ← (1 − ηλ)p for a rule whose decay is decoupled.

    Parameters
    ----------
    parameters : ndarray or device array
        1-D, contiguous, writable, float32 or float64. Updated in place, never copied. For the backend ``cuda`` an array
        that lies on the GPU, of CuPy, PyTorch or another library with ``__cuda_array_interface__`` or DLPack; for every
        other one a NumPy array. The backend ``cuda`` takes bfloat16 too: gradients are bfloat16 then, and the states
        float32; the rule computes in float32, and its result is rounded to the nearest bfloat16. Arrays of JAX are
        refused, since JAX relies on their staying as they are; as gradients they serve.
    rule : str or Rule
        Name of a built-in rule (:data:`fastopt.rules.RULES`), or one of your own (:func:`fastopt.rule`).
    layout : Layout, optional
        Names and groups of the segments of `parameters`; one segment by default.
    groups : mapping, optional
        Group name to the hyper-parameters that differ in it, for example ``{"bias": {"weight_decay": 0.0}}``.
    backend : {"numba", "c", "cuda", "reference"}, optional
        Numba by default, C where Numba is missing.
    threads : int, optional
        Threads of a pass; by default the processors of this process. Small buffers are updated by one.
    clip_value : float, optional
        Limit of each element of the gradient.
    max_norm : float, optional
        Limit of the Euclidean norm of the whole gradient: one factor for all.
    max_segment_norm : float, optional
        Limit of the norm of each segment's gradient: a factor each, before `max_norm`.
    skip_nonfinite : bool
        Leave parameters and states as they are, and count, when the gradient holds NaN or Inf (or when its sum of
        squares overflows a float64). Costs one read of the gradient, as the norms do.
    maximize : bool
        Ascend: the gradient's sign is turned.
    zero_grad : bool
        Set the gradient to zero behind the update, in the same pass.
    **hyper
        The rule's hyper-parameters, `weight_decay` among them.

    Attributes
    ----------
    state : dict of str to ndarray
        The rule's buffers by name, laid out as `parameters`; float32 beside bfloat16. All start at zero.
    steps : int
        Steps taken.
    skipped : int
        Steps left out since a gradient was not finite.
    lr_scale : float
        Factor on every learning rate; what a schedule sets.

    Raises
    ------
    TypeError, ValueError
        A buffer that cannot be updated in place, buffers that overlap, an unknown name, a hyper-parameter out of range.

    Examples
    --------
    >>> parameters = np.array([1.0, -2.0], dtype="float32")
    >>> optimizer = Optimizer(parameters, "sgd", lr=0.5)
    >>> optimizer.step(np.array([1.0, 1.0], dtype="float32"))
    >>> parameters
    array([ 0.5, -2.5], dtype=float32)
    """

    def __init__(
        self,
        parameters: Array,
        rule: str | Rule = "adam",
        *,
        layout: Layout | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        backend: str | None = None,
        threads: int | None = None,
        clip_value: float | None = None,
        max_norm: float | None = None,
        max_segment_norm: float | None = None,
        skip_nonfinite: bool = False,
        maximize: bool = False,
        zero_grad: bool = False,
        **hyper: Any,
    ) -> None:
        self._backend: Backend = get_backend(backend)
        self._memory: Memory = memory_of(self._backend)
        self._device = None if self._memory.device is None else _OnDevice(self._memory.device)
        self.parameters = parameters
        self._parameters = self._memory.take("parameters", parameters)
        self.rule = get_rule(rule)
        self._hyper = check_hyper(self.rule, hyper)
        self.layout = layout or Layout({"parameters": self._parameters.shape})
        if self.layout.size != self._parameters.size:
            raise ValueError(f"layout: got {self.layout.size} elements, the parameters have {self._parameters.size}")
        self.clip_value = _positive("clip_value", clip_value)
        self.max_norm = _positive("max_norm", max_norm)
        self.max_segment_norm = _positive("max_segment_norm", max_segment_norm)
        self.skip_nonfinite = skip_nonfinite
        self.maximize = maximize
        self._gradients: Array | None = None
        self.zero_grad = zero_grad
        self.threads = available_cores() if threads is None else whole_number("threads", threads)
        size, dtype = self._parameters.size, self._parameters.dtype
        self.state = {name: self._memory.zeros(size, state_dtype(dtype)) for name in self.rule.states}
        self.steps = 0
        self.skipped = 0
        self.lr_scale = 1.0
        self._kernel = self._backend.kernel(self.rule, dtype, self.threads)
        self._groups = self._group_hyper(groups or {})
        self._arguments = self._rule_arguments()
        self._spans = self._cut()
        self._make_limiter()  # memory cannot be had while a graph is captured
        self._shape = self._parameters.shape
        number = {"float32": "f", "float64": "d"}[self._backend.compute_dtype(dtype).name]
        self._pack: Callable[..., None] = struct.Struct(f"{coefficient_count(self.rule)}{number}").pack_into

    @property
    def backend(self) -> str:
        """Name of the backend that runs the passes."""
        return self._backend.name

    @property
    def on_device(self) -> bool:
        """Whether parameters and states lie in memory that is not the host's."""
        return self._backend.device is not None

    @property
    def hyper(self) -> dict[str, Hyper]:
        """The hyper-parameters of every group that does not say otherwise (a copy)."""
        return dict(self._hyper)

    @property
    def zero_grad(self) -> bool:
        """Whether a step sets the gradient to zero; only then it has to be writable."""
        return self._zero_grad

    @zero_grad.setter
    def zero_grad(self, value: bool) -> None:
        self._zero_grad = bool(value)
        self._gradients = None  # to be looked at again: they may be read-only

    @property
    def lr(self) -> float:
        """The learning rate, before `lr_scale`. Setting it sets it in every group."""
        lr = self._hyper["lr"]
        assert isinstance(lr, float)
        return lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._hyper = check_hyper(self.rule, {**self._hyper, "lr": value})
        for hyper in self._groups.values():
            hyper["lr"] = self._hyper["lr"]
        self._arguments = self._rule_arguments()

    def step(self, gradients: Array, *, grad_scale: float = 1.0) -> None:
        """Take one step.

        Parameters
        ----------
        gradients : ndarray
            Same dtype and size as the parameters. Written to with `zero_grad` alone; else it may be read-only.
        grad_scale : float
            Factor on the gradient, for example 1 / loss_scale.

        Raises
        ------
        TypeError, ValueError
            The gradient does not fit, or shares memory with the parameters or a state. Nothing was updated.
        """
        if gradients is not self._gradients or gradients.shape != self._shape:
            self._bind(gradients)
        if not self._scale(grad_scale):
            self.skipped += 1
            if self.zero_grad:
                self._clear_gradients()
            return
        t, lr_scale, zero_grad = self.steps + 1, self.lr_scale, self._zero_grad
        if self._device is not None:
            self._send(self._buffer, grad_scale)
            _launch(self._limit(), self._runs(), zero_grad)
        else:  # a small buffer's step is quicker than what could be shared with the other branch
            for span in self._spans:
                self._put(span.coefficients, self._coefficients(span.group, span.factor, t, lr_scale))
                span.run(zero_grad)
        self.steps = t

    def capture(self, gradients: Array) -> Callable[..., None]:
        """Return a step on these gradients that costs one launch: a CUDA graph of its passes.

        Nothing is updated before it is called. Each call is a step with its own coefficients: the step count, `lr`,
        `lr_scale` and the values of limits may be others in each.

        Parameters
        ----------
        gradients : device array
            As for :meth:`step`. Later calls read what lies in the same memory then.

        Returns
        -------
        callable
            ``replay(*, grad_scale=1.0)``, to be called in the place of ``step(gradients)``.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`step`; or the backend is not ``cuda``, or with `skip_nonfinite`, since the host would have to
            look at the gradient first.

        Examples
        --------
        >>> replay = optimizer.capture(gradients)  # doctest: +SKIP
        >>> for batch in batches:  # doctest: +SKIP
        ...     backward(batch, gradients)
        ...     replay()
        """
        device = self._device_of("capture")
        self._take(gradients)
        buffer, captured = self._buffer, self._kind_of_passes
        passes = device.capture(partial(_launch, self._limit(), self._runs(), self.zero_grad), buffer)

        def replay(*, grad_scale: float = 1.0) -> None:
            if self._kind_of_passes != captured:
                raise RuntimeError(
                    "capture: zero_grad, skip_nonfinite, or whether there is a limit of the norm, is no longer what it "
                    "was; capture again"
                )
            self._scale(grad_scale)
            self._send(buffer, grad_scale)
            passes()
            self.steps += 1

        return replay

    def launch(self, gradients: Array) -> None:
        """Launch a step's passes alone, for a CUDA graph of your own; :meth:`prepare` is the rest of the step.

        Examples
        --------
        >>> with torch.cuda.graph(graph):  # doctest: +SKIP
        ...     backward()
        ...     optimizer.launch(gradients)
        >>> for batch in batches:  # doctest: +SKIP
        ...     static_batch.copy_(batch)
        ...     optimizer.prepare()
        ...     graph.replay()
        """
        self._device_of("launch")
        self._take(gradients)
        _launch(self._limit(), self._runs(), self.zero_grad)

    def prepare(self, *, grad_scale: float = 1.0) -> None:
        """Send the coming step's coefficients to the GPU and count the step, whose passes come next on the same stream.

        Raises
        ------
        RuntimeError
            There were no passes yet: no gradients were given to :meth:`launch`.
        """
        self._device_of("prepare")
        if self._gradients is None:
            raise RuntimeError("prepare: got no gradients so far; call launch(gradients), where it is captured, before")
        self._scale(grad_scale)
        self._send(self._buffer, grad_scale)
        self.steps += 1

    @property
    def needs_whole_gradient(self) -> bool:
        """Whether a step looks at, or leaves behind, more of the gradient than each parameter's own element."""
        norms = self.max_norm is not None or self.max_segment_norm is not None
        return norms or self.skip_nonfinite or self.zero_grad

    def trainer(self, network: NetworkSpec) -> Trainer | None:
        """Return what trains that network with this rule in compiled code; None where the backend has no such code."""
        return self._backend.trainer(network, self.rule, self._parameters.dtype, self.threads)

    def next_coefficients(self, lr_scales: Sequence[float], groups: Sequence[str]) -> Array:
        """Return what the coming steps' passes take, of shape (steps, groups, coefficients).

        Parameters
        ----------
        lr_scales
            The factor on the learning rate in each step.
        groups
            Names of groups, one for each array of a step; a name that the layout does not have stands for its first.
        """
        sign = -1.0 if self.maximize else 1.0
        shape = (len(lr_scales), len(groups), coefficient_count(self.rule))
        table = np.empty(shape, self._backend.compute_dtype(self._parameters.dtype))
        alike: dict[str, int] = {}
        for place, name in enumerate(groups):
            group = name if name in self._groups else self.layout.segments[0].group
            same = next((k for g, k in alike.items() if self._groups[g] == self._groups[group]), None)
            if same is None:
                steps = enumerate(lr_scales, self.steps + 1)
                table[:, place] = [self._coefficients(group, sign, t, lr_scale) for t, lr_scale in steps]
            else:
                table[:, place] = table[:, same]
            alike.setdefault(group, place)
        return table

    def write_parameters(self, values: Array) -> None:
        """Copy values into the parameters, wherever those lie."""
        self._memory.write(self._parameters, values)

    def read_parameters(self, out: Array) -> None:
        """Copy the parameters, wherever they lie, into a NumPy array."""
        self._memory.read(self._parameters, out)

    def read_state(self) -> dict[str, Array]:
        """Return the states by name as NumPy arrays: themselves, or copies of those that lie on a GPU."""
        if not self.on_device:
            return dict(self.state)
        dtype = state_dtype(self._parameters.dtype)
        copies = {name: np.empty(self._parameters.size, dtype) for name in self.state}
        for name, out in copies.items():
            self._memory.read(self.state[name], out)
        return copies

    def new_gradients(self) -> Array:
        """Return a buffer of zeros for gradients, in the memory where the parameters lie."""
        return self._memory.zeros(self._parameters.size, self._parameters.dtype)

    def count_steps(self, lr_scales: Sequence[float]) -> None:
        """Note that a trainer has taken these steps in the optimizer's place."""
        self.steps += len(lr_scales)
        self.lr_scale = lr_scales[-1]

    def state_dict(self) -> dict[str, Any]:
        """Return the rule's name, the step counts, the hyper-parameters, and the state buffers (no copies)."""
        return {
            "rule": self.rule.name,
            "step": self.steps,
            "skipped": self.skipped,
            "lr_scale": self.lr_scale,
            "hyper": self.hyper,
            "state": dict(self.state),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave; the values are copied into this optimizer's own buffers.

        Raises
        ------
        ValueError, TypeError
            It is of another rule, or its buffers differ in name, size or dtype. Nothing was changed.
        """
        if saved["rule"] != self.rule.name:
            raise ValueError(f"state: got one of rule {saved['rule']!r}, this optimizer's is {self.rule.name!r}")
        if saved["state"].keys() != self.state.keys():
            raise ValueError(f"state: got {sorted(saved['state'])}, expected {sorted(self.state)}")
        hyper = check_hyper(self.rule, saved["hyper"])
        steps, skipped, lr_scale = saved["step"], saved["skipped"], saved["lr_scale"]
        expected = state_dtype(self._parameters.dtype)
        for name, values in saved["state"].items():
            if values.dtype != expected or values.shape != self._parameters.shape:
                raise ValueError(
                    f"state {name}: got {values.dtype.name} of shape {values.shape}, "
                    f"expected {expected.name} of shape {self._parameters.shape}"
                )
        for name, values in saved["state"].items():
            self._memory.write(self.state[name], values)
        for own in self._groups.values():
            own.update({name: hyper[name] for name, value in self._hyper.items() if own[name] == value})
        self._arguments = self._rule_arguments()
        self._hyper = hyper
        self.steps, self.skipped, self.lr_scale = steps, skipped, lr_scale

    def __repr__(self) -> str:
        hyper = ", ".join(f"{name}={value}" for name, value in self._hyper.items())
        return f"Optimizer({self._parameters.size:,} {self._parameters.dtype.name}, {self.rule.name}: {hyper})"

    def _group_hyper(self, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Hyper]]:
        names = {segment.group for segment in self.layout}
        for group in groups:
            if group not in names:
                raise unknown_name("group", group, names)
        return {name: check_hyper(self.rule, {**self._hyper, **groups.get(name, {})}) for name in names}

    def _rule_arguments(self) -> dict[str, tuple[dict[str, Hyper], float, float]]:
        """Return for each group what its rule is called with, its learning rate and its weight decay."""
        arguments = {}
        for group, hyper in self._groups.items():
            own = dict(hyper)
            lr, weight_decay = own["lr"], own.pop("weight_decay")
            assert isinstance(lr, float)
            assert isinstance(weight_decay, float)
            arguments[group] = (own, lr, weight_decay)
        return arguments

    def _cut(self) -> list[_Span]:
        """Return the fewest spans that one array of coefficients serves: neighbours of one kind are one span."""

        def kind(segment: Segment) -> object:
            return segment.name if self.max_segment_norm is not None else sorted(self._groups[segment.group].items())

        cuts = [list(neighbours) for _, neighbours in groupby(self.layout, key=kind)]
        dtype = self._backend.compute_dtype(self._parameters.dtype)
        self._table = self._memory.coefficients(len(cuts), coefficient_count(self.rule), dtype)
        spans = []
        for members, row, read in zip(cuts, self._table.rows, self._table.read, strict=True):
            where = slice(members[0].offset, members[-1].stop)
            states = tuple(state[where] for state in self.state.values())
            spans.append(_Span(where=where, group=members[0].group, states=states, coefficients=row, read=read))
        return spans

    def _take(self, gradients: Array) -> None:
        """Have passes work on these gradients."""
        if gradients is not self._gradients or gradients.shape != self._shape:
            self._bind(gradients)

    def _bind(self, gradients: Array) -> None:
        dtype, size = self._parameters.dtype, self._parameters.size
        buffer = self._memory.take("gradients", gradients, dtype=dtype, size=size, writable=self.zero_grad)
        self._memory.check_disjoint({"gradients": buffer, "parameters": self._parameters, **self.state})
        self._gradients = None  # until all spans are bound: an exception may come between two
        for span in self._spans:
            buffers = (self._parameters[span.where], buffer[span.where], *span.states)
            span.run, span.gradients, span.sum_of_squares = self._kernel(buffers, span.read), buffers[1], None
        self._buffer = buffer
        if self._device is not None:
            self._device.limit = None
        self._gradients = gradients

    def _runs(self) -> list[Run]:
        """Return the passes over the gradients at hand."""
        return [span.run for span in self._spans]

    def _send(self, buffer: Array, grad_scale: float) -> None:
        """Write the coming step's coefficients to where passes over these gradients read them."""
        t, lr_scale = self.steps + 1, self.lr_scale
        for span in self._spans:
            self._put(span.coefficients, self._coefficients(span.group, span.factor, t, lr_scale))
        sign = -grad_scale if self.maximize else grad_scale
        self._table.send(buffer, (sign, self.max_norm or 0.0, self.max_segment_norm or 0.0))

    def _device_of(self, caller: str) -> Device:
        """Return where passes can be captured, or say why they cannot."""
        if self._device is None:
            raise ValueError(f"{caller}: got backend {self.backend!r}, expected 'cuda', whose passes are launches")
        if self.skip_nonfinite:
            raise ValueError(
                f"{caller}: got skip_nonfinite=True, expected False: with it the host looks at each gradient before it "
                "takes the step, and a graph has nobody to ask"
            )
        return self._device.device

    @property
    def _kind_of_passes(self) -> tuple[bool, ...]:
        """What makes passes other launches, rather than the same ones with other coefficients."""
        return self.zero_grad, self.skip_nonfinite, self._limits_on_device

    @property
    def _limits_on_device(self) -> bool:
        """Whether norms are limited without the host's knowing them."""
        if self._device is None or self.skip_nonfinite:
            return False
        return self.max_norm is not None or self.max_segment_norm is not None

    def _make_limiter(self) -> None:
        if self._limits_on_device and self._spans:
            assert self._device is not None
            sizes = [span.where.stop - span.where.start for span in self._spans]
            self._device.limiter = self._device.device.limits(sizes, self._parameters.dtype, self._table)

    def _limit(self) -> Callable[[], None] | None:
        """Return what limits the gradients' norms on their device, if anything does."""
        own = self._device
        if own is None or not self._limits_on_device:
            return None
        if own.limiter is None:
            self._make_limiter()
        if own.limit is None and own.limiter is not None:
            own.limit = own.limiter([span.gradients for span in self._spans])
        return own.limit

    def _clear_gradients(self) -> None:
        for span in self._spans:
            self._memory.clear(span.gradients)

    def _scale(self, grad_scale: float) -> bool:
        """Set what each span's gradient is multiplied by; return whether the step is to be taken."""
        if not math.isfinite(grad_scale):
            raise ValueError(f"grad_scale: got {grad_scale}, expected a finite number")
        sign = -grad_scale if self.maximize else grad_scale
        no_limits = self.max_norm is None and self.max_segment_norm is None
        if (no_limits and not self.skip_nonfinite) or self._limits_on_device:
            for span in self._spans:
                span.factor = sign
            return True
        norms = [abs(grad_scale) * math.sqrt(self._sum_of_squares(span)) for span in self._spans]
        if self.skip_nonfinite and not all(map(math.isfinite, norms)):
            return False
        factors = clip_factors(norms, self.max_norm, self.max_segment_norm)
        for span, factor in zip(self._spans, factors, strict=True):
            span.factor = sign * factor
        return True

    def _sum_of_squares(self, span: _Span) -> float:
        if span.sum_of_squares is None:
            span.sum_of_squares = self._backend.sum_of_squares(span.gradients, self.threads)
        return span.sum_of_squares()

    def _put(self, coefficients: Array, values: Sequence[float]) -> None:
        """Write the values; NumPy would take longer for so few than the pass over a small buffer."""
        try:
            self._pack(coefficients, 0, *values)
        except OverflowError:  # too large for float32: that is Inf, as everywhere
            with np.errstate(over="ignore"):
                coefficients[:] = values

    def _coefficients(self, group: str, factor: float, t: int, lr_scale: float) -> tuple[float, ...]:
        """Return what the passes of step t take."""
        hyper, base, weight_decay = self._arguments[group]
        clip_value = math.inf if self.clip_value is None else self.clip_value
        hyper["lr"] = lr = base * lr_scale
        own = self.rule.at_step(t, hyper)
        if self.rule.decay == "decoupled":
            return (factor, clip_value, 0.0, 1.0 - lr * weight_decay, *own)
        return (factor, clip_value, weight_decay, 1.0, *own)


def _launch(limit: Callable[[], None] | None, runs: Sequence[Run], zero_grad: bool) -> None:
    if limit is not None:
        limit()
    for run in runs:
        run(zero_grad)


def _positive(name: str, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}: got {value!r}, expected a positive finite number, or None for no limit")
    return value
