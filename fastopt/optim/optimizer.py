"""The optimizer: one rule over one flat buffer of parameters, in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .._errors import whole_number
from ..backends import Backend, Device, Storage, available_cores, backend_of, storage_of
from ..buffers import Layout
from ..rules import Hyper, Rule, get_rule, with_limits
from .groups import Groups
from .program import Options, Step, make_step
from .spans import Spans

__all__ = ["Optimizer", "OptimizerParts"]

Array = NDArray[Any]


class OptimizerParts(NamedTuple):
    """What an optimizer consists of.

    `parameters` is the buffer as passes take it. `spans` and `step` are other objects when the stages of a step change.
    `seed` is that of stochastic rounding.
    """

    backend: Backend
    device: Device
    parameters: Array
    storage: Storage
    seed: int
    groups: Groups
    spans: Spans
    step: Step


class Optimizer:
    """Updates a flat buffer of parameters in place, one fused pass a step.

    Before the rule sees an element of the gradient g and of the parameters p,

        g ← clip(±g · grad_scale · factor, ±clip_value)

    where the factor limits the norm; then g ← g + λp (L2 decay), or p ← (1 − ηλ)p for a rule whose decay is decoupled.

    Parameters
    ----------
    parameters : ndarray or device array
        1-D, contiguous, writable, float32, float64 or bfloat16. Updated in place, never copied. For the backend
        ``cuda`` an array that lies on the GPU, of CuPy, PyTorch or another library with ``__cuda_array_interface__`` or
        DLPack; for every other one a NumPy array, of bfloat16 one of the package ml_dtypes. Gradients of bfloat16
        parameters are bfloat16 too; the rule computes in float32. Arrays of JAX are refused, since JAX relies on their
        staying as they are; as gradients they serve.
    rule : str or Rule
        Name of a built-in rule (:data:`fastopt.rules.RULES`), or one of your own (:func:`fastopt.rule`).
    layout : Layout, optional
        Names and groups of the segments of `parameters`; one segment by default.
    groups : mapping, optional
        Group name to the hyper-parameters that differ in it, for example ``{"bias": {"weight_decay": 0.0}}``.
    states : {"bfloat16", "float32", "float64"}, optional
        Dtype of the states. The default is that of the arithmetic: float32 for parameters of float32 and of bfloat16.
        States of bfloat16 take half the memory: a step of Adam over float32 parameters moves 20 bytes a parameter
        instead of 28. The backend ``cuda`` has the default only.
    rounding : {"nearest", "stochastic"}
        How numbers are rounded when they are stored as bfloat16, in states and in parameters. Rounding to nearest
        loses a change of less than half a unit in the last place in every step. Stochastic rounding goes up or down
        with probabilities that make the mean exact, so that such changes are kept on average. Results of matrix stages,
        which the next stage uses up, are rounded to nearest. The backend ``cuda`` rounds to nearest.
    seed : int
        Seed of stochastic rounding. The random bits of an element depend on the seed, the step, the name of the buffer
        and the position in it, not on threads or backend.
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
        The rule's buffers by name, laid out as `parameters`, of the dtype that `states` names.
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
        states: str | None = None,
        rounding: str = "nearest",
        seed: int = 0,
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
        self._device: Device = self._backend.device
        self.parameters = parameters
        self._parameters = self._device.take("parameters", parameters)
        self.rule = get_rule(rule)
        self.layout = layout or Layout({"parameters": self._parameters.shape})
        if self.layout.size != self._parameters.size:
            raise ValueError(f"layout: got {self.layout.size} elements, the parameters have {self._parameters.size}")
        self._groups = Groups(self.rule, self.layout, hyper, groups or {})
        self._clip_value = _positive("clip_value", clip_value)
        self._max_norm = _positive("max_norm", max_norm)
        self._max_segment_norm = _positive("max_segment_norm", max_segment_norm)
        self._skip_nonfinite = bool(skip_nonfinite)
        self._maximize = bool(maximize)
        self._zero_grad = bool(zero_grad)
        self._threads = available_cores() if threads is None else whole_number("threads", threads)
        self._options: Options | None = None
        self._shape = self._parameters.shape
        self._storage = self._checked(storage_of(self._parameters.dtype, states, rounding))
        self._seed = whole_number("seed", seed, least=0)
        size, dtype = self._parameters.size, self._storage.states
        self.state = {name: self._device.zeros(size, dtype) for name in self._groups.states}
        self._start_states()
        self.steps = 0
        self.skipped = 0
        self.lr_scale = 1.0
        self._arrange()

    def _start_states(self) -> None:
        """Fill the states that do not start at zero."""
        for segment in self.layout:
            group = self._groups.of(segment)
            for name, start in group.rule.starts.items():
                where = slice(segment.offset, segment.stop)
                value = group.hyper[start] if isinstance(start, str) and start != "p" else start
                self._device.write(self.state[name][where], self._parameters[where] if value == "p" else value)

    def _checked(self, storage: Storage) -> Storage:
        """Return the storage; raise ValueError where the passes of a device do not have it."""
        if self.on_device and storage.states != storage.arithmetic:
            raise ValueError(
                f"states: got {storage.states.name} with backend {self.backend!r}, expected {storage.arithmetic.name}"
            )
        if self.on_device and storage.rounding != "nearest":
            raise ValueError(f"rounding: got {storage.rounding!r} with backend {self.backend!r}, expected 'nearest'")
        return storage

    def _arrange(self) -> None:
        """Cut the buffers into spans, as few as the groups and the limits of now allow."""
        limited = self._max_norm is not None or self._max_segment_norm is not None or self._skip_nonfinite
        self._spans = Spans(
            self._backend,
            self._groups,
            (lambda group: with_limits(group.rule)) if limited else (lambda group: group.rule),
            self._parameters,
            self.state,
            self._storage,
            self.layout,
            self.threads,
            apart=self._max_segment_norm is not None,
        )
        self._step = make_step(self._spans, self._seed if self._storage.is_random else None)

    @property
    def backend(self) -> str:
        """Name of the backend that runs the passes."""
        return self._backend.name

    @property
    def on_device(self) -> bool:
        """Whether parameters and states lie in memory that is not the host's."""
        return not self._device.is_host

    @property
    def hyper(self) -> dict[str, Hyper]:
        """The hyper-parameters of every group that does not say otherwise (a copy)."""
        return dict(self._groups.default.hyper)

    @property
    def lr(self) -> float:
        """The learning rate, before `lr_scale`. Setting it sets it in every group."""
        lr: float = self._groups.default.lr
        return lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._groups.set({"lr": value})

    @property
    def lr_scale(self) -> float:
        """Factor on every learning rate; what a schedule sets."""
        return self._lr_scale

    @lr_scale.setter
    def lr_scale(self, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"lr_scale: got {value!r}, expected a finite number")
        self._lr_scale = float(value)
        self._options = None

    @property
    def maximize(self) -> bool:
        """Whether a step ascends."""
        return self._maximize

    @maximize.setter
    def maximize(self, value: bool) -> None:
        self._maximize = bool(value)
        self._options = None

    @property
    def threads(self) -> int:
        """Threads of a pass over a large buffer."""
        return self._threads

    @threads.setter
    def threads(self, value: int) -> None:
        self._threads = whole_number("threads", value)
        self._step.save_memory()
        self._arrange()

    @property
    def zero_grad(self) -> bool:
        """Whether a step sets the gradient to zero; only then it has to be writable."""
        return self._zero_grad

    @zero_grad.setter
    def zero_grad(self, value: bool) -> None:
        self._zero_grad = bool(value)
        self._spans.bound = None  # to be looked at again: it may be read-only

    @property
    def clip_value(self) -> float | None:
        """Limit of each element of the gradient."""
        return self._clip_value

    @clip_value.setter
    def clip_value(self, value: float | None) -> None:
        self._clip_value = _positive("clip_value", value)
        self._options = None

    @property
    def max_norm(self) -> float | None:
        """Limit of the norm of the whole gradient."""
        return self._max_norm

    @max_norm.setter
    def max_norm(self, value: float | None) -> None:
        self._set_limit("_max_norm", _positive("max_norm", value))

    @property
    def max_segment_norm(self) -> float | None:
        """Limit of the norm of each segment's gradient."""
        return self._max_segment_norm

    @max_segment_norm.setter
    def max_segment_norm(self, value: float | None) -> None:
        self._set_limit("_max_segment_norm", _positive("max_segment_norm", value))

    @property
    def skip_nonfinite(self) -> bool:
        """Whether a gradient with NaN or Inf is left out."""
        return self._skip_nonfinite

    @skip_nonfinite.setter
    def skip_nonfinite(self, value: bool) -> None:
        self._set_limit("_skip_nonfinite", bool(value))

    def _set_limit(self, name: str, value: object) -> None:
        """Set an attribute that the stages of a step depend on, if it is there or not."""
        before = getattr(self, name)
        setattr(self, name, value)
        self._options = None
        if bool(before) != bool(value):
            self._step.save_memory()
            self._arrange()

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
        step, options = self._step, self._options if grad_scale == 1.0 else None
        step.prepare(self.steps + 1, options or self.options(grad_scale), spans.buffer)
        if step.launch(self._zero_grad, self._skip_nonfinite):
            self.steps += 1
            return
        self.skipped += 1
        if self._zero_grad:
            spans.clear_gradients()

    def options(self, grad_scale: float = 1.0) -> Options:
        """Return what a step does to its gradient before the rule takes it."""
        grad_scale = float(grad_scale)  # a number of NumPy's would decide the dtype of what is computed with it
        if not math.isfinite(grad_scale):
            raise ValueError(f"grad_scale: got {grad_scale}, expected a finite number")
        options = (
            -grad_scale if self._maximize else grad_scale,
            self._lr_scale,
            self._clip_value or math.inf,
            self._max_norm or 0.0,
            self._max_segment_norm or 0.0,
        )
        if grad_scale == 1.0:
            self._options = options  # until one of these attributes is set: a step would take 10 % longer without
        return options

    def capture(self, gradients: Array) -> Callable[..., None]:
        """Return a step on these gradients: on a GPU a CUDA graph of its passes, which costs one launch.

        Nothing is updated before it is called. Each call is a step with its own coefficients: the step count, `lr`,
        `lr_scale` and the values of limits may be others in each.

        Parameters
        ----------
        gradients : ndarray or device array
            As for :meth:`step`. Later calls read what lies in the same memory then.

        Returns
        -------
        callable
            ``replay(*, grad_scale=1.0)``, to be called in the place of ``step(gradients)``.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`step`; or with `skip_nonfinite`, since the host would have to look at the gradient first.

        Examples
        --------
        >>> replay = optimizer.capture(gradients)  # doctest: +SKIP
        >>> for batch in batches:  # doctest: +SKIP
        ...     backward(batch, gradients)
        ...     replay()
        """
        self._check_can_be_captured("capture")
        self._take(gradients)
        buffer, step, zero_grad = self._spans.buffer, self._step, self._zero_grad
        passes = self._device.capture(lambda: step.launch(zero_grad), buffer)

        def replay(*, grad_scale: float = 1.0) -> None:
            if self._step is not step or self._zero_grad != zero_grad:
                raise RuntimeError(
                    "capture: the stages of a step are no longer what they were: zero_grad, threads or a limit was "
                    "set, or a state was loaded; capture again"
                )
            step.prepare(self.steps + 1, self.options(grad_scale), buffer)
            passes()
            self.steps += 1

        return replay

    def launch(self, gradients: Array) -> None:
        """Launch a step's passes only, for a CUDA graph of your own; :meth:`prepare` is the rest of the step.

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
        self._check_can_be_captured("launch")
        self._take(gradients)
        self._step.launch(self._zero_grad)

    def prepare(self, *, grad_scale: float = 1.0) -> None:
        """Send the next step's coefficients to the device and count the step, whose passes come next.

        Raises
        ------
        RuntimeError
            There were no passes yet: no gradients were given to :meth:`launch`.
        """
        self._check_can_be_captured("prepare")
        if self._spans.bound is None:
            raise RuntimeError("prepare: got no gradients so far; call launch(gradients), where it is captured, before")
        self._step.prepare(self.steps + 1, self.options(grad_scale), self._spans.buffer)
        self.steps += 1

    @property
    def parts(self) -> OptimizerParts:
        """What code that takes steps in the optimizer's place works with."""
        return OptimizerParts(
            self._backend,
            self._device,
            self._parameters,
            self._storage,
            self._seed,
            self._groups,
            self._spans,
            self._step,
        )

    def read_state(self) -> dict[str, Array]:
        """Return the states by name as NumPy arrays: themselves, or copies of those that lie on a GPU."""
        return {name: self._device.read(buffer) for name, buffer in self.state.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the rule's name, counts, rounding and seed, hyper-parameters, and the state buffers (no copies)."""
        self._step.save_memory()
        return {
            "rule": self.rule.name,
            "step": self.steps,
            "skipped": self.skipped,
            "lr_scale": self.lr_scale,
            "rounding": self._storage.rounding,
            "seed": self._seed,
            "hyper": self.hyper,
            "groups": self._groups.state_dict(),
            "state": dict(self.state),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave; the values are copied into this optimizer's own buffers.

        Rounding and seed become the saved ones, since the next steps depend on them.

        Raises
        ------
        ValueError, TypeError
            It is of another rule, it lacks an entry, or its buffers differ in name, size or dtype. Nothing was changed.
        """
        for name in self.state_dict():
            if name not in saved:
                raise ValueError(f"state: got no {name}, expected what state_dict() of this version gives")
        if saved["rule"] != self.rule.name:
            raise ValueError(f"state: got one of rule {saved['rule']!r}, this optimizer's is {self.rule.name!r}")
        if saved["state"].keys() != self.state.keys():
            raise ValueError(f"state: got {sorted(saved['state'])}, expected {sorted(self.state)}")
        hyper = self.rule.checked(saved["hyper"])
        self._groups.check(saved["groups"])
        steps, skipped = (whole_number(name, saved[name], least=0) for name in ("step", "skipped"))
        lr_scale = saved["lr_scale"]
        if not math.isfinite(lr_scale):
            raise ValueError(f"state: got lr_scale={lr_scale!r}, expected a finite number")
        expected = self._storage.states
        storage = self._checked(storage_of(self._parameters.dtype, expected.name, saved["rounding"]))
        seed = whole_number("seed", saved["seed"], least=0)
        for name, values in saved["state"].items():
            if values.dtype != expected or values.shape != self._parameters.shape:
                raise ValueError(
                    f"state {name}: got {values.dtype.name} of shape {values.shape}, "
                    f"expected {expected.name} of shape {self._parameters.shape}"
                )
        for name, values in saved["state"].items():
            self._device.write(self.state[name], values)
        self._groups.default.update(hyper)
        self._groups.load(saved["groups"])
        self._storage, self._seed = storage, seed
        self._arrange()
        self.steps, self.skipped, self.lr_scale = steps, skipped, lr_scale

    def __repr__(self) -> str:
        hyper = ", ".join(f"{name}={value}" for name, value in self.hyper.items())
        size, storage = f"{self._parameters.size:,} {self._parameters.dtype.name}", self._storage
        states = "" if storage.is_plain else f", states of {storage.states.name} ({storage.rounding})"
        return f"Optimizer({size}{states}, {self.rule.name}: {hyper})"

    def _take(self, gradients: Array) -> None:
        """Have passes work on these gradients; `step` has the same in line: a call would be 3 % of a small one."""
        if gradients is not self._spans.bound or gradients.shape != self._shape:
            self._spans.bind(gradients, writable=self._zero_grad)

    def _check_can_be_captured(self, caller: str) -> None:
        """Raise ValueError unless the passes of a step do not depend on what the host sees in a gradient."""
        if self._skip_nonfinite:
            raise ValueError(
                f"{caller}: got skip_nonfinite=True, expected False: the host looks at each gradient before it takes "
                "the step, which a graph cannot wait for"
            )


def _positive(name: str, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}: got {value!r}, expected a positive finite number, or None for no limit")
    return value
