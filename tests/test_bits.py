"""Same bits everywhere: backend, vector width, number of threads and position in memory change none."""

import math

import numpy as np
import pytest
from conftest import DTYPES, HYPER, bits, draw, needs, plain

from fastopt import RULES, Layout, Optimizer
from fastopt.backends import get_backend, why_missing
from fastopt.translate import built_in_sweeps

SWEEPS = built_in_sweeps()
SIZES = (0, 1, 7, 31, 1000, 2049)
# The last group of 64 elements is one of many, whole, or cut off where a whole one would end a block of 2048.
SPANS = (1, 64, 1985, 2047, 2048, 4095, 65_535)
ABOVE_PARALLEL = 100_003
LEVELS = [] if why_missing("c") else get_backend("c").levels()
DENORMAL = {"float32": 1e-40, "float64": 1e-310}


@pytest.fixture(autouse=True)
def _three_numba_threads(monkeypatch):
    """Numba cuts work into up to three shares, however many processors there are."""
    if why_missing("numba") is None:
        monkeypatch.setattr("fastopt.backends.numba.launch.parallel_threads", lambda: 3)


def numbers_of(sweep, dtype):
    """Return numbers in which each one of the sweep's matters: all are different, and none is 0 or 1."""
    return np.array([0.75, 1.5, 0.0625, 0.99, *(0.9 - 0.05 * k for k in range(len(sweep.numbers)))], dtype)


def run_three_times(backend, sweep, dtype, size, *, threads=1, offset=0, scale=1.0, state=0.25):
    """Return what the sweep writes, and its sums, after three passes; the last sets g to zero where there is one."""
    kernel = backend.kernel(sweep, plain(dtype), threads)
    buffers = {name: draw(0, size, dtype, offset) for name in sweep.buffers}
    for name in buffers:
        buffers[name][:] = state
    if "p" in buffers:
        buffers["p"][:] = draw(0, size, dtype) * np.dtype(dtype).type(scale)
    sums = np.zeros(len(sweep.sums)) if sweep.sums else None
    run = kernel(tuple(buffers.values()), numbers_of(sweep, dtype), *(() if sums is None else (sums,)))
    for t in range(1, 4):
        if "g" in buffers:
            buffers["g"][:] = draw(t, size, dtype) * np.dtype(dtype).type(scale)
        run("g" in buffers and t == 3)
        assert "g" not in buffers or buffers["g"].any() == (t < 3 and size > 0)
    return [*(buffers[name] for name in sweep.writes), *(() if sums is None else (sums,))]


@needs("numba", "c")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SWEEPS)
def test_numba_and_c_agree(name, dtype):
    for size in SIZES:
        results = [run_three_times(get_backend(backend), SWEEPS[name], dtype, size) for backend in ("numba", "c")]
        assert bits(*results[0]) == bits(*results[1]), f"{size} elements"


@needs("c")
@pytest.mark.skipif(len(LEVELS) == 1, reason="this processor has one vector width")
@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SWEEPS)
def test_vector_widths_agree(name, dtype, level):
    from fastopt.backends.c import CBackend

    for size in SIZES:
        results = [run_three_times(CBackend(width), SWEEPS[name], dtype, size) for width in (LEVELS[0], level)]
        assert bits(*results[0]) == bits(*results[1]), f"{size} elements"


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SWEEPS)
def test_threads_change_no_bit(name, dtype, threads, compiled):
    if compiled == "c" and not get_backend("c").has_threads():
        pytest.skip("the C extension was built without OpenMP")
    alone, together = (
        run_three_times(get_backend(compiled), SWEEPS[name], dtype, ABOVE_PARALLEL, threads=count)
        for count in (1, threads)
    )
    assert bits(*alone) == bits(*together)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SWEEPS)
def test_position_in_memory_changes_no_bit(name, dtype, compiled):
    for size in SIZES:
        at_start, behind = (run_three_times(get_backend(compiled), SWEEPS[name], dtype, size, offset=k) for k in (0, 1))
        assert bits(*at_start) == bits(*behind), f"{size} elements"


def squares(backend, values, threads=1):
    """Return Σ x², as the limits of a norm measure it."""
    sweep, sums = SWEEPS["measure_gradient"], np.zeros(1)
    neutral = np.array([1.0, np.inf, 0.0, 1.0], values.dtype)
    get_backend(backend).kernel(sweep, plain(values.dtype), threads)((values,), neutral, sums)(False)
    return sums[0]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 16_383, 16_384, 16_385, ABOVE_PARALLEL, 300_001])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_squares_is_the_same_number_everywhere_and_right(dtype, size, compiled):
    values = draw(0, size, dtype)
    sums = {squares(compiled, values, threads) for threads in (1, 2, 3)}
    sums |= {squares(compiled, draw(0, size, dtype, offset=1))}
    sums |= {squares(other, values) for other in ("numba", "c") if why_missing(other) is None}
    assert len(sums) == 1
    # a sum of n squares in 64 lanes: at most n/64 roundings of a positive term on the way, the products not rounded
    exact = math.fsum(np.square(values, dtype="float64"))
    assert sums.pop() == pytest.approx(exact, rel=(2 + size / 64) * np.finfo("float64").eps, abs=0)


def between_sentinels(values, size, dtype):
    """Return a buffer of the values, and the larger one that it lies in."""
    whole = np.full(size + 200, 7.5, dtype)
    buffer = whole[100:-100]
    buffer[:] = values
    return buffer, whole


def one_step_between_sentinels(backend, sweep, dtype, size, threads, *, zero_grad):
    """Return what a step has written, the gradient, and all that lies around them."""
    values = {"p": draw(0, size, dtype), "g": draw(1, size, dtype)}
    given = (between_sentinels(values.get(name, 0.25), size, dtype) for name in sweep.buffers)
    buffers, wholes = zip(*given, strict=True)
    sums = (np.zeros(len(sweep.sums)),) if sweep.sums else ()
    backend.kernel(sweep, plain(dtype), threads)(buffers, numbers_of(sweep, dtype), *sums)(zero_grad)
    named = dict(zip(sweep.buffers, buffers, strict=True))
    written = [named[name] for name in sweep.writes]
    return [*written, *sums], named["g"], np.concatenate([[whole[:100], whole[-100:]] for whole in wholes])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, sweep in SWEEPS.items() if "g" in sweep.buffers])
def test_zero_grad_sets_its_own_span_to_zero_and_nothing_else(name, dtype, threads, compiled):
    for size in SPANS:
        plain, kept, _ = one_step_between_sentinels(
            get_backend(compiled), SWEEPS[name], dtype, size, threads, zero_grad=False
        )
        updated, zeroed, around = one_step_between_sentinels(
            get_backend(compiled), SWEEPS[name], dtype, size, threads, zero_grad=True
        )
        assert bits(*updated) == bits(*plain), f"{size} elements"
        assert bits(kept, zeroed) == bits(draw(1, size, dtype), np.zeros(size, dtype)), f"{size} elements"
        assert (around == 7.5).all(), f"{size} elements"


def three_steps_of_two_groups(backend, dtype, size, threads):
    """Return p and the states; zero_grad is set, and the biases behind the weights are another group."""
    layout = Layout({"w": (size,), "b": (45,)}, groups={"b": "bias"})
    p, groups = draw(0, layout.size, dtype), {"bias": {"lr": 0.5, "weight_decay": 0.0}}
    optimizer = Optimizer(
        p, "adam", layout=layout, groups=groups, backend=backend, threads=threads, zero_grad=True, **HYPER["adam"]
    )
    for t in range(1, 4):
        g = draw(t, layout.size, dtype)
        optimizer.step(g)
        assert not g.any()
    return [p, *optimizer.state.values()]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [2025, 65_535])
def test_zero_grad_of_a_group_leaves_the_next_one_its_gradient(size, dtype, threads, compiled):
    results = three_steps_of_two_groups(compiled, dtype, size, threads)
    # Three updates, each of about ten roundings of numbers of the size of normal draws.
    tolerance = 50 * np.finfo(dtype).eps
    for given, expected in zip(results, three_steps_of_two_groups("reference", dtype, size, 1), strict=True):
        np.testing.assert_allclose(given, expected, rtol=tolerance, atol=tolerance)
    for other in ("numba", "c"):
        if why_missing(other) is None:
            assert bits(*three_steps_of_two_groups(other, dtype, size, 1)) == bits(*results)


def is_denormal(values):
    return (values != 0) & (np.abs(values) < np.finfo(values.dtype).tiny)


@pytest.mark.parametrize("inputs", ["denormal everything", "denormal states", "denormal squares"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SWEEPS)
def test_denormals_count_as_zero(name, dtype, inputs, compiled):
    tiny = DENORMAL[dtype]
    values = {
        "denormal everything": {"scale": tiny, "state": tiny},
        "denormal states": {"scale": 1.0, "state": tiny},
        "denormal squares": {"scale": math.sqrt(tiny), "state": 0.0},
    }
    results = run_three_times(get_backend(compiled), SWEEPS[name], dtype, 1000, **values[inputs])
    assert not any(is_denormal(result).any() for result in results)
    for other in ("numba", "c"):
        if why_missing(other) is None:
            assert bits(*run_three_times(get_backend(other), SWEEPS[name], dtype, 1000, **values[inputs])) == bits(
                *results
            )


@needs("numba")
@pytest.mark.parametrize("threads", [1, 3])
def test_the_floating_point_mode_is_put_back_on_every_thread(threads, compiled):
    import numba

    @numba.njit(parallel=True)
    def halves(values):
        for i in numba.prange(values.size):
            values[i] *= 0.5

    denormals = np.full(ABOVE_PARALLEL, np.finfo("float64").tiny)
    halves(denormals.copy())
    run_three_times(get_backend(compiled), RULES["adam"].stages[0], "float32", ABOVE_PARALLEL, threads=threads)
    assert 0 < np.float32(1e-40) * np.float32(1) < np.finfo("float32").tiny
    halves(denormals)
    assert (denormals > 0).all()
