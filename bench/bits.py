"""Whether steps on the GPU have the bits of the CPU's: every rule, dtype and feature of a pass.

``python -m bench.bits --sizes 1e6 --steps 10 --out bits.json``; the exit status is 1 where a bit differs,
and after Ctrl-C before the last comparison.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastopt.backends import default_backend, get_backend
from fastopt.optim import Optimizer
from fastopt.rules import RULES

__all__ = ["FEATURES", "Checked", "check_bits", "main"]

Array = NDArray[Any]

FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay, scale, clip": {"weight_decay": 0.0625, "clip_value": 0.9, "grad_scale": 0.75},
    "norm, maximize, cleared gradient": {"max_norm": 4.0, "maximize": True, "skip_nonfinite": True, "zero_grad": True},
}
"""Features of a pass besides the rule; ``grad_scale`` is an argument of each step."""


@dataclass(frozen=True)
class Checked:
    """One rule in one dtype, size and set of features.

    Attributes
    ----------
    different
        Buffers that differ, with the number of elements that do.
    """

    rule: str
    dtype: str
    size: int
    steps: int
    feature: str
    different: Mapping[str, int]


def check_bits(
    rules: Sequence[str], dtypes: Sequence[str], sizes: Sequence[int], steps: int, *, against: str | None = None
) -> Iterator[Checked]:
    """Yield the result of each comparison; `against` is a backend of the CPU, by default the default one."""
    against = default_backend() if against is None else against
    for dtype, size in product(dtypes, sizes):
        start, *gradients = _draw(dtype, size, steps + 1)
        for rule, feature in product(rules, FEATURES):
            options = dict(FEATURES[feature])
            grad_scale = options.pop("grad_scale", 1.0)
            expected = _on_the_cpu(rule, start, gradients, grad_scale, {**options, "backend": against})
            found = _on_the_gpu(rule, start, gradients, grad_scale, options)
            counts = {name: _differ(found[name], expected[name]) for name in expected}
            different = {name: count for name, count in counts.items() if count}
            yield Checked(rule, dtype, size, steps, feature, different)


def _draw(dtype: str, size: int, count: int) -> list[Array]:
    random = np.random.default_rng(size)
    return [random.standard_normal(size).astype(dtype) for _ in range(count)]


def _on_the_cpu(
    rule: str, start: Array, gradients: Sequence[Array], grad_scale: float, options: dict[str, Any]
) -> dict[str, Array]:
    g = np.empty_like(start)
    optimizer = Optimizer(start.copy(), rule, **options)
    for values in gradients:
        g[:] = values
        optimizer.step(g, grad_scale=grad_scale)
    return {"parameters": optimizer.parameters, "gradient": g, **optimizer.state}


def _on_the_gpu(
    rule: str, start: Array, gradients: Sequence[Array], grad_scale: float, options: dict[str, Any]
) -> dict[str, Array]:
    device = get_backend("cuda").device
    assert device is not None
    p, g = device.zeros(start.size, start.dtype), device.zeros(start.size, start.dtype)
    device.write(p, start)
    optimizer = Optimizer(p, rule, backend="cuda", **options)
    for values in gradients:
        device.write(g, values)
        optimizer.step(g, grad_scale=grad_scale)
    buffers: dict[str, Any] = {"parameters": p, "gradient": g, **optimizer.state}
    return {name: buffer.copy_to_host() for name, buffer in buffers.items()}


def _differ(found: Array, expected: Array) -> int:
    """Return how many elements differ in a bit, those of zero's sign and of NaN included."""
    whole = {4: np.uint32, 8: np.uint64}[expected.itemsize]
    return int(np.count_nonzero(found.view(whole) != expected.view(whole)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print the differences, and return the exit status."""
    parser = argparse.ArgumentParser(description="Compare the bits of steps on the GPU with those of the CPU.")
    parser.add_argument("--rules", nargs="+", default=list(RULES), metavar="NAME", help="default: all")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"], metavar="NAME")
    parser.add_argument("--sizes", nargs="+", type=float, default=[1e6, 1023], metavar="N")
    parser.add_argument("--steps", type=int, default=10, metavar="N")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all comparisons")
    given = parser.parse_args(arguments)
    found, complete = [], False
    try:
        for checked in check_bits(given.rules, given.dtypes, [int(size) for size in given.sizes], given.steps):
            found.append(checked)
            if checked.different:
                where = f"{checked.rule} {checked.dtype}, {checked.size:,} elements, {checked.feature}"
                print(f"{where}: {checked.different}")
        complete = True
    except KeyboardInterrupt:  # the comparisons that were made are kept
        print("interrupted: not everything was compared")
    different = sum(bool(checked.different) for checked in found)
    backends = {name: get_backend(name).describe() for name in (default_backend(), "cuda")}
    print(f"{len(found)} comparisons, {different} with different bits: {' / '.join(backends.values())}")
    if given.out is not None:
        content = {"backends": backends, "complete": complete, "checked": [asdict(checked) for checked in found]}
        given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0 if complete and not different else 1


if __name__ == "__main__":
    raise SystemExit(main())
