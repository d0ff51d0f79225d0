"""The optimizer: one rule over one flat buffer of parameters, in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._bfloat16 import state_dtype
from .._errors import whole_number
from ..backends import Backend, NetworkSpec, Trainer, available_cores, backend_of
from ..buffers import Layout, Segment
from ..clipping import clip_factors
from ..memory import Memory, memory_of
from ..rules import Hyper, Rule, check_hyper, get_rule
from .groups import Groups
from .launches import Launches
from .spans import Spans

__all__ = ["Optimizer"]

Array = NDArray[Any]


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
    backend : {"numba", "c", "cuda", "reference"} or Backend, optional
        Numba by default, C where Numba is missing. Or a backend that was made with other options than the usual ones.
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
        backend: str | Backend | None = None,
        threads: int | None = None,
        clip_value: float | None = None,
        max_norm: float | None = None,
        max_segment_norm: float | None = None,
        skip_nonfinite: bool = False,
        maximize: bool = False,
        zero_grad: bool = False,
        **hyper: Any,
    ) -> None:
        self._backend = backend_of(backend)
        self._memory: Memory = memory_of(self._backend)
        self.parameters = parameters
        self._parameters = self._memory.take("parameters", parameters)
        self.rule = get_rule(rule)
        self.layout = layout or Layout({"parameters": self._parameters.shape})
        if self.layout.size != self._parameters.size:
            raise ValueError(f"layout: got {self.layout.size} elements, the parameters have {self._parameters.size}")
        self._groups = Groups(self.rule, (segment.group for segment in self.layout), hyper, groups or {})
        self.clip_value = _positive("clip_value", clip_value)
        self.max_norm = _positive("max_norm", max_norm)
        self.max_segment_norm = _positive("max_segment_norm", max_segment_norm)
        self.skip_nonfinite = skip_nonfinite
        self.maximize = maximize
        self._zero_grad = bool(zero_grad)
        self.threads = available_cores() if threads is None else whole_number("threads", threads)
        self._shape, dtype = self._parameters.shape, self._parameters.dtype
        self.state = {name: self._memory.zeros(self._parameters.size, state_dtype(dtype)) for name in self.rule.states}
        self.steps = 0
        self.skipped = 0
        self.lr_scale = 1.0
        self._spans = Spans(self._backend, self._memory, self.rule, self._parameters, self.state, self.threads)
        self._spans.cut(self.layout, self._kind_of_segment)
        device = self._memory.device
        self._launches = None if device is None else Launches(device, self._spans, dtype)
        if self._launches is not None and self._limits_on_device:
            self._launches.allot()

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
        return dict(self._groups.hyper)

    @property
    def zero_grad(self) -> bool:
        """Whether a step sets the gradient to zero; only then it has to be writable."""
        return self._zero_grad

    @zero_grad.setter
    def zero_grad(self, value: bool) -> None:
        self._zero_grad = bool(value)
        self._spans.bound = None  # to be looked at again: it may be read-only

    @property
    def lr(self) -> float:
        """The learning rate, before `lr_scale`. Setting it sets it in every group."""
        return self._groups.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._groups.lr = value

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
        spans = self._spans
        if gradients is not spans.bound or gradients.shape != self._shape:
            spans.bind(gradients, writable=self._zero_grad)
        if not self._scale(grad_scale):
            self.skipped += 1
            if self._zero_grad:
                spans.clear_gradients()
            return
        if self._launches is not None:
            self._send(spans.buffer, grad_scale)
            self._launches.run(limited=self._limits_on_device, zero_grad=self._zero_grad)
        else:  # a span's pass follows its coefficients at once, which a small buffer's step is quicker for
            t, lr_scale, zero_grad = self.steps + 1, self.lr_scale, self._zero_grad
            clip_value = math.inf if self.clip_value is None else self.clip_value
            for span in spans.list:
                values = self._groups.coefficients(span.group, t, lr_scale, span.factor, clip_value)
                spans.put(span.coefficients, values)
                span.run(zero_grad)
        self.steps += 1

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
        launches = self._launches_for("capture")
        self._take(gradients)
        buffer, captured = self._spans.buffer, self._kind_of_passes
        passes = launches.capture(limited=self._limits_on_device, zero_grad=self._zero_grad)

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
        launches = self._launches_for("launch")
        self._take(gradients)
        launches.run(limited=self._limits_on_device, zero_grad=self._zero_grad)

    def prepare(self, *, grad_scale: float = 1.0) -> None:
        """Send the coming step's coefficients to the GPU and count the step, whose passes come next on the same stream.

        Raises
        ------
        RuntimeError
            There were no passes yet: no gradients were given to :meth:`launch`.
        """
        self._launches_for("prepare")
        if self._spans.bound is None:
            raise RuntimeError("prepare: got no gradients so far; call launch(gradients), where it is captured, before")
        self._scale(grad_scale)
        self._send(self._spans.buffer, grad_scale)
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
        first, dtype = self.layout.segments[0].group, self._backend.compute_dtype(self._parameters.dtype)
        names = [name if name in self._groups else first for name in groups]
        sign = -1.0 if self.maximize else 1.0
        return self._groups.table(names, self.steps + 1, lr_scales, sign, self._clip_value, dtype)

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
        self._groups.replace(hyper)
        self.steps, self.skipped, self.lr_scale = steps, skipped, lr_scale

    def __repr__(self) -> str:
        hyper = ", ".join(f"{name}={value}" for name, value in self.hyper.items())
        return f"Optimizer({self._parameters.size:,} {self._parameters.dtype.name}, {self.rule.name}: {hyper})"

    @property
    def _clip_value(self) -> float:
        return math.inf if self.clip_value is None else self.clip_value

    def _kind_of_segment(self, segment: Segment) -> object:
        """Return what neighbours have in common that one array of coefficients serves."""
        return segment.name if self.max_segment_norm is not None else self._groups.kind(segment.group)

    def _take(self, gradients: Array) -> None:
        """Have passes work on these gradients; `step` has the same in line: a call would be 3 % of a small one."""
        if gradients is not self._spans.bound or gradients.shape != self._shape:
            self._spans.bind(gradients, writable=self._zero_grad)

    def _send(self, buffer: Array, grad_scale: float) -> None:
        """Write the coming step's coefficients to where passes over these gradients read them."""
        spans, t, clip_value = self._spans, self.steps + 1, self._clip_value
        for span in spans.list:
            values = self._groups.coefficients(span.group, t, self.lr_scale, span.factor, clip_value)
            spans.put(span.coefficients, values)
        sign = -grad_scale if self.maximize else grad_scale
        spans.table.send(buffer, (sign, self.max_norm or 0.0, self.max_segment_norm or 0.0))

    def _launches_for(self, caller: str) -> Launches:
        """Return what launches a step without a look at the gradient first, or say why nothing can."""
        if self._launches is None:
            raise ValueError(f"{caller}: got backend {self.backend!r}, expected 'cuda', whose passes are launches")
        if self.skip_nonfinite:
            raise ValueError(
                f"{caller}: got skip_nonfinite=True, expected False: with it the host looks at each gradient before it "
                "takes the step, and a graph has nobody to ask"
            )
        return self._launches

    @property
    def _kind_of_passes(self) -> tuple[bool, ...]:
        """What makes passes other launches, rather than the same ones with other coefficients."""
        return self.zero_grad, self.skip_nonfinite, self._limits_on_device

    @property
    def _limits_on_device(self) -> bool:
        """Whether norms are limited without the host's knowing them."""
        if self._launches is None or self.skip_nonfinite:
            return False
        return self.max_norm is not None or self.max_segment_norm is not None

    def _scale(self, grad_scale: float) -> bool:
        """Set what each span's gradient is multiplied by; return whether the step is to be taken."""
        if not math.isfinite(grad_scale):
            raise ValueError(f"grad_scale: got {grad_scale}, expected a finite number")
        sign = -grad_scale if self.maximize else grad_scale
        no_limits = self.max_norm is None and self.max_segment_norm is None
        if (no_limits and not self.skip_nonfinite) or self._limits_on_device:
            for span in self._spans.list:
                span.factor = sign
            return True
        norms = [abs(grad_scale) * norm for norm in self._spans.norms()]
        if self.skip_nonfinite and not all(map(math.isfinite, norms)):
            return False
        factors = clip_factors(norms, self.max_norm, self.max_segment_norm)
        self._spans.set_factors([sign * factor for factor in factors])
        return True


def _positive(name: str, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}: got {value!r}, expected a positive finite number, or None for no limit")
    return value
