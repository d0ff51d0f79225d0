"""What only a GPU can show; skipped without one. `bench/gpu.sh` runs it, and compares the bits of all rules."""

import numpy as np
import pytest
from conftest import DTYPES, HYPER, bits, draw, needs

from fastopt import MLP, Optimizer
from fastopt.backends import default_backend, get_backend
from fastopt.bench.cases import GpuCase
from fastopt.bench.contenders import CONTENDERS, why_missing
from fastopt.bench.gpu.steps import GpuSteps
from fastopt.bench.validation import STEP_TOLERANCE

pytestmark = needs("cuda")

SIZE, STEPS = 1023, 3
CONTENDERS_OF_STEPS = [name for name, contender in CONTENDERS.items() if contender.device == "cuda" and contender.steps]


def on_device(values, offset=0):
    device = get_backend("cuda").device
    buffer = device.zeros(values.size + offset, values.dtype)[offset:]
    device.write(buffer, values)
    return buffer


def contents_of(optimizer):
    return bits(*(buffer.copy_to_host() for buffer in (optimizer.parameters, *optimizer.state.values())))


def on_the_cpu(name, dtype="float32"):
    """Return the bits of parameters and states behind the steps."""
    optimizer = Optimizer(draw(0, SIZE, dtype), name, backend=default_backend(), **HYPER[name])
    for t in range(1, STEPS + 1):
        optimizer.step(draw(t, SIZE, dtype))
    return bits(optimizer.parameters, *optimizer.state.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("offset", "gradient_offset"), [(1, 1), (3, 3), (0, 1)])
def test_position_in_memory_changes_no_bit(offset, gradient_offset, dtype):
    optimizer = Optimizer(on_device(draw(0, SIZE, dtype), offset), "adam", backend="cuda", **HYPER["adam"])
    for t in range(1, STEPS + 1):
        optimizer.step(on_device(draw(t, SIZE, dtype), gradient_offset))
    assert contents_of(optimizer) == on_the_cpu("adam", dtype)


def test_replays_of_a_graph_are_steps():
    g = on_device(draw(1, SIZE))
    optimizer = Optimizer(on_device(draw(0, SIZE)), "adamw", backend="cuda", **HYPER["adamw"])
    optimizer.step(g)
    replay = optimizer.capture(g)
    for t in range(2, STEPS + 1):
        get_backend("cuda").device.write(g, draw(t, SIZE))
        replay()
    assert contents_of(optimizer) == on_the_cpu("adamw")


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_arrays_of_another_library_are_updated_where_they_lie(library):
    module = pytest.importorskip(library)
    moved = (lambda values: module.tensor(values, device="cuda")) if library == "torch" else module.asarray
    p = moved(draw(0, SIZE))
    optimizer = Optimizer(p, "momentum", backend="cuda", **HYPER["momentum"])
    side = module.cuda.Stream() if library == "torch" else module.cuda.Stream(non_blocking=True)
    for t in range(1, STEPS + 1):
        g = moved(draw(t, SIZE))
        module.cuda.synchronize() if library == "torch" else module.cuda.Device().synchronize()
        with module.cuda.stream(side) if library == "torch" else side:
            optimizer.step(g)
        side.synchronize()
    found = p.cpu().numpy() if library == "torch" else module.asnumpy(p)
    assert bits(found) == on_the_cpu("momentum")[:1]


@pytest.mark.parametrize("batch", [16, 30])
def test_training_stays_near_the_cpu_s(batch):
    """Sums of another order: no bits. Batches of 30 leave the last one smaller."""
    random = np.random.default_rng(0)
    x, y = random.random((96, 20), np.float32), random.integers(0, 3, 96)
    start, found = MLP((20, 32, 3)).parameters.copy(), {}
    for backend in (default_backend(), "cuda"):
        model = MLP((20, 32, 3))
        model.parameters[:] = start
        model.fit(x, y, rule="momentum", lr=0.05, epochs=3, batch_size=batch, progress=False, backend=backend)
        found[backend] = model.parameters
    assert np.abs(found["cuda"] - start).max() > 1e-3
    np.testing.assert_allclose(found["cuda"], found[default_backend()], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["memory", "step", "graph", "launch", "overhead"])
@pytest.mark.parametrize("name", CONTENDERS_OF_STEPS)
def test_contenders_of_the_benchmark_run_and_are_right(name, kind):
    contender = CONTENDERS[name]
    rule = "triad" if kind == "memory" else "adam"
    case = GpuCase(rule, "float32", 1 if kind in ("launch", "overhead") else 1024, kind)
    if not contender.runs(case):
        pytest.skip("it has no cases of this kind")
    for package in contender.needs:
        pytest.importorskip(package)
    if reason := why_missing(contender):
        pytest.skip(reason)
    measured = GpuSteps(contender)
    assert measured.start(case, cache=1 << 12)["seconds_per_call"][0] > 0
    assert min(measured.round(case, plans=[(2, 3)])["seconds"][0]) > 0
    assert measured.check(case)["error"] <= STEP_TOLERANCE["float32"]
