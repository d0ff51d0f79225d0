"""Buffers of bfloat16 on the CPU: what is loaded, how it is rounded, and that nothing but the numbers decides it."""

import json
import struct
import subprocess
import sys
from itertools import product

import ml_dtypes
import numpy as np
import pytest
from bfloat16 import critical, rounded, widened
from conftest import HYPER, bits, contents, draw, needs, needs_compiler

from fastopt import MLP, RULES, Layout, Optimizer, fma, rule
from fastopt.backends import get_backend, storage_of, why_missing
from fastopt.backends.rounding import key_of, random_bits, salt_of
from fastopt.cli import main
from fastopt.data import Dataset
from fastopt.runs.checkpoint import load_checkpoint
from fastopt.train.training import Training
from fastopt.translate import built_in_sweeps

SWEEPS = built_in_sweeps()
needs_compiled = pytest.mark.skipif(bool(why_missing("numba") and why_missing("c")), reason="no compiled backend")
FLOAT32, BFLOAT16 = np.dtype("float32"), np.dtype(ml_dtypes.bfloat16)
KINDS = {
    "states": (FLOAT32, "bfloat16"),
    "parameters": (BFLOAT16, "float32"),
    "all": (BFLOAT16, "bfloat16"),
}
TWO = [("states", "nearest"), ("all", "stochastic")]
"""What all sweeps are compared in: each takes a second to compile."""
SIZES = (0, 1, 7, 63, 64, 65, 1000, 2049)
ABOVE_PARALLEL = 100_003
KEY = key_of(7, 3)


@pytest.fixture(autouse=True)
def _three_numba_threads(monkeypatch):
    """Numba cuts work into up to three shares, however many processors there are."""
    if why_missing("numba") is None:
        monkeypatch.setattr("fastopt.backends.numba.launch.parallel_threads", lambda: 3)


def storage(kind, rounding="nearest"):
    return storage_of(*KINDS[kind], rounding)


def run(backend, sweep, stored, buffers, numbers, *, threads=1, position=0, key=KEY, zero_grad=False):
    """Run one pass over buffers; return its sums."""
    backend = get_backend(backend) if isinstance(backend, str) else backend
    own = [1.0, np.inf, 0.0, 1.0, *numbers, *key[: stored.key_numbers]]
    sums = np.zeros(len(sweep.sums)) if sweep.sums else None
    kernel = backend.kernel(sweep, stored, threads)
    with np.errstate(all="ignore"):  # the reference backend is NumPy, and some of the numbers are NaN
        kernel(buffers, np.array(own, backend.compute_dtype(stored.parameters)), sums, position)(zero_grad)
    return sums


def stored_as_state(backend, values, rounding="nearest", **options):
    """Return the bits of a state of bfloat16 that a pass gives these values, with the 16 bits of each as a number."""
    p, state = np.zeros_like(values), np.zeros(values.size, BFLOAT16)
    # v = 0·v + 1·g, where g is the value
    run(backend, SWEEPS["momentum_ema"], storage("states", rounding), [p, values, state], [1.0, 0.0, 1.0], **options)
    return state.view(np.uint16)


def buffers_of(sweep, stored, size, seed=0):
    """Return buffers of a sweep; states are positive, since some are squares."""
    named = {name: draw(seed + k, size) for k, name in enumerate(sweep.buffers)}
    return [(x if name in "pg" else np.abs(x)).astype(stored.of(name)) for name, x in named.items()]


def numbers_of(sweep):
    return [0.9 - 0.05 * k for k in range(len(sweep.numbers))]


def results(backend, name, stored, size, *, passes=2, **options):
    """Return the bits of all buffers, and of the sums, after some passes."""
    sweep = SWEEPS[name]
    buffers = buffers_of(sweep, stored, size)
    for step in range(passes):
        sums = run(backend, sweep, stored, buffers, numbers_of(sweep), key=key_of(7, step), **options)
    return bits(*buffers, *(() if sums is None else (sums,)))


# What is loaded and stored


def test_every_bfloat16_is_loaded_as_the_number_that_it_is(backend):
    update = np.arange(1 << 16, dtype=np.uint16).view(BFLOAT16)
    p = np.zeros(update.size, np.float32)
    run(backend, SWEEPS["muon_apply"], storage("states"), [p, update], [-1.0])  # p = 1·update + 0
    expected = widened(update.view(np.uint16))
    with np.errstate(invalid="ignore"):
        is_denormal = (np.abs(expected) < np.finfo("float32").tiny) & (expected != 0)
    assert np.isnan(p[np.isnan(expected)]).all()
    rest = ~np.isnan(expected) & ~is_denormal
    np.testing.assert_array_equal(p[rest], expected[rest])
    assert (p[is_denormal] == (expected[is_denormal] if backend == "reference" else 0)).all()


def is_normal(values):
    with np.errstate(invalid="ignore"):
        return ~(np.abs(values) < np.finfo("float32").tiny)


def test_rounding_to_nearest_is_that_of_the_definition_and_of_ml_dtypes(backend):
    values = critical()
    values = values[is_normal(values)]
    given = stored_as_state(backend, values)
    assert (values == values).sum() > 300_000
    number = ~np.isnan(values)
    assert (given[number] == rounded(values)[number]).all()
    with np.errstate(over="ignore", invalid="ignore"):
        assert (given[number] == values.astype(BFLOAT16).view(np.uint16)[number]).all()
    assert np.isnan(widened(given[~number])).all()


def test_numbers_beyond_the_largest_bfloat16_by_half_a_unit_become_inf(backend):
    largest, half = np.float32(2.0**127 * (2 - 2**-7)), np.float32(2.0**119)
    values = np.array([largest, np.nextafter(largest + half, 0, dtype="float32"), largest + half, np.inf], "float32")
    given = widened(stored_as_state(backend, np.concatenate([values, -values])))
    assert given.tolist() == [largest, largest, np.inf, np.inf, -largest, -largest, -np.inf, -np.inf]


def neighbours(values):
    """Return the bits of the neighbour toward zero, and of the one away from it; of equals where there is no rest."""
    words = values.view(np.uint32)
    return (words >> 16).astype(np.uint16), ((words + np.uint32(0xFFFF)) >> np.uint32(16)).astype(np.uint16)


def test_stochastic_rounding_gives_neighbours_and_keeps_what_is_exact(backend):
    values = critical()
    values = values[is_normal(values)]
    given = stored_as_state(backend, values, "stochastic")
    number = ~np.isnan(values)
    low, high = neighbours(values)
    low, high, rounded_to = low[number], high[number], given[number]
    is_zero = (values == 0)[number]
    assert ((rounded_to == low) | (rounded_to == high) | is_zero).all()
    assert 0 < (rounded_to != low).sum() < rounded_to.size
    assert np.isnan(widened(given[~number])).all()


@pytest.mark.parametrize("fraction", [1, 0x1000, 0x4321, 0x8000, 0xC000, 0xFFFF])
def test_stochastic_rounding_is_unbiased(fraction, compiled):
    size, seeds = 4096, 32
    values = np.full(size, 1.5, np.float32).view(np.uint32) + np.uint32(fraction)
    ups = np.zeros(size)
    for seed in range(seeds):
        given = stored_as_state(compiled, values.view(np.float32), "stochastic", key=key_of(seed, 1))
        ups += given != values[0] >> 16
    share, count = fraction / 65536, size * seeds
    deviation = np.sqrt(share * (1 - share))
    assert abs(ups.mean() / seeds - share) < 5 * deviation / np.sqrt(count)
    # over the seeds each element's own mean is right too: its deviation is a binomial one's
    assert abs(np.var(ups / seeds) - deviation**2 / seeds) < 0.2 * deviation**2 / seeds + 1e-6


def defined_bits(key, salt, position):
    """Return the random bits of one element, as :mod:`fastopt.backends.rounding` defines them, in Python's integers."""
    mask = 0xFFFFFFFF

    def mixed(x):
        x = (x ^ x >> 16) * 0x7FEB352D & mask
        x = (x ^ x >> 15) * 0x846CA68B & mask
        return x ^ x >> 16

    first, second = mixed(key[0] ^ salt), mixed(key[1] + salt & mask)
    x = position & mask ^ first
    x = (x ^ x >> 16) * 0x7FEB352D + second & mask
    x = (x ^ x >> 15) * 0x846CA68B & mask
    return x >> 16


@pytest.mark.parametrize("position", [0, 1, 1000, 2**32 - 5, 2**40 + 3])
def test_the_random_bits_are_those_of_the_definition(position, backend):
    size, salt = 100, salt_of("exp_avg")
    expected = [defined_bits(KEY, salt, position + i) for i in range(size)]
    assert random_bits(KEY, salt, position, size).tolist() == expected
    # a number is rounded up where its lower half and the random bits carry: this finds each of them
    sweep, stored = SWEEPS["adam"], storage("states", "stochastic")
    for offset, carries in ((0, False), (1, True)):
        lower = np.array([min(0xFFFF, 0x10000 - bit - 1 + offset) for bit in expected], np.uint32)
        g = (np.uint32(0x3FC00000) | lower).view(np.float32)
        p, exp_avg, exp_avg_sq = np.ones(size, np.float32), np.zeros(size, BFLOAT16), np.ones(size, BFLOAT16)
        run(backend, sweep, stored, [p, g, exp_avg, exp_avg_sq], [1.0, 0.5, 0.5, 0.1, 1.0, 1.0], position=position)
        is_up = exp_avg.view(np.uint16) != 0x3FC0
        assert (is_up == (carries & (lower + np.array(expected) > 0xFFFF))).all()
        assert is_up.any() == carries


def test_keys_and_buffers_have_random_bits_of_their_own():
    keys = [key_of(seed, step) for seed in range(20) for step in range(20)]
    assert len(set(keys)) == 400
    assert all(0 <= word < 2**24 for key in keys for word in key)
    drawn = {random_bits(key, salt_of(name), 0, 64).tobytes() for key in keys[:50] for name in ("p", "exp_avg", "z")}
    assert len(drawn) == 150
    together = random_bits(KEY, salt_of("p"), 0, 1 << 16)
    counts = np.bincount(together >> 8, minlength=256)
    assert ((counts - 256) ** 2 / 256).sum() < 400  # chi-squared of 255 degrees of freedom: 255, deviation 23
    assert abs(np.corrcoef(together[:-1], together[1:])[0, 1]) < 0.02


# Same bits everywhere


@needs("numba", "c")
@pytest.mark.parametrize(
    ("name", "kind", "rounding"),
    [
        *((name, *both) for name in SWEEPS for both in TWO),
        *product(("adam", "lamb", "momentum", "muon_apply"), KINDS, ("nearest", "stochastic")),
    ],
)
def test_numba_and_c_agree(name, kind, rounding):
    for size in SIZES:
        numba, c = (results(backend, name, storage(kind, rounding), size, position=11) for backend in ("numba", "c"))
        assert numba == c, f"{size} elements"


@needs("c")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SWEEPS)
def test_vector_widths_agree(name, kind):
    from fastopt.backends.c import CBackend

    each = [results(CBackend(level), name, storage(kind, "stochastic"), 1000) for level in CBackend.levels()]
    assert all(one == each[0] for one in each)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["adam", "lamb", "momentum", "muon_apply"])
def test_threads_change_no_bit(name, kind, compiled):
    stored = storage(kind, "stochastic")
    alone, *others = (results(compiled, name, stored, ABOVE_PARALLEL, threads=threads) for threads in (1, 2, 3))
    assert others == [alone, alone]


def test_where_buffers_are_cut_changes_no_bit(compiled):
    sweep, stored = SWEEPS["adam"], storage("all", "stochastic")
    whole, pieces = (buffers_of(sweep, stored, 1000) for _ in range(2))
    run(compiled, sweep, stored, whole, numbers_of(sweep), position=5)
    for where in (slice(0, 77), slice(77, 500), slice(500, 1000)):
        piece = [buffer[where] for buffer in pieces]
        run(compiled, sweep, stored, piece, numbers_of(sweep), position=5 + where.start)
    assert bits(*whole) == bits(*pieces)


@pytest.mark.parametrize("size", [1, 64, 1985, 2048, 4095, 65_535])
def test_zero_grad_of_bfloat16_sets_its_own_span_to_zero_and_nothing_else(size, compiled):
    sweep, stored = SWEEPS["adam"], storage("all")
    buffers, plain = buffers_of(sweep, stored, size), buffers_of(sweep, stored, size)
    around = np.full(size + 200, 7.5, BFLOAT16)
    around[100:-100] = buffers[1]
    buffers[1] = around[100:-100]
    run(compiled, sweep, stored, buffers, numbers_of(sweep), threads=3, zero_grad=True)
    run(compiled, sweep, stored, plain, numbers_of(sweep), threads=3)
    assert not buffers[1].view(np.uint16).any()
    assert (around[:100] == 7.5).all()
    assert (around[-100:] == 7.5).all()
    assert bits(buffers[0], *buffers[2:]) == bits(plain[0], *plain[2:])


# Through the optimizer


def optimizer_of(name, backend, parameters=FLOAT32, size=350, **options):
    layout = Layout({"w": (6, size // 7), "b": (size - 6 * (size // 7),)}, groups={"b": "bias"})
    options = {"states": "bfloat16", "layout": layout, "groups": {"bias": {"lr": 0.01}}, **options}
    return Optimizer(draw(0, size).astype(parameters), name, backend=backend, **options, **HYPER.get(name, {}))


def step(optimizer, *steps):
    for t in steps:
        optimizer.step(draw(t, optimizer.parameters.size).astype(optimizer.parameters.dtype))
    return contents(optimizer)


@pytest.mark.parametrize(("parameters", "rounding"), [(FLOAT32, "nearest"), (BFLOAT16, "stochastic")], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_within_a_rounding_of_the_reference(name, parameters, rounding, compiled):
    options = {"parameters": parameters, "rounding": rounding, "seed": 3, "max_norm": 10.0}
    given = step(optimizer_of(name, compiled, **options), 1, 2)
    expected = step(optimizer_of(name, "reference", **options), 1, 2)
    for buffer, values in expected.items():
        one, other = (x.astype("float64") for x in (given[buffer], values))
        assert given[buffer].dtype == (parameters if buffer == "parameters" else BFLOAT16)
        # Where float32's arithmetic tips one rounding in a thousand, a unit in the last place of bfloat16 differs.
        assert (one == other).mean() > 0.9 or given[buffer].dtype == FLOAT32
        np.testing.assert_allclose(one, other, rtol=2**-6, atol=2**-6 * np.abs(other).max())


@needs("numba", "c")
@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_the_same_bits_in_numba_and_c(name):
    options = {"parameters": BFLOAT16, "rounding": "stochastic", "seed": 3, "max_norm": 10.0, "threads": 2}
    numba, c = (step(optimizer_of(name, backend, **options), 1, 2, 3) for backend in ("numba", "c"))
    assert bits(*numba.values()) == bits(*c.values())


def test_groups_and_segments_change_no_bit(compiled):
    whole = Optimizer(draw(0, 350), "adam", states="bfloat16", rounding="stochastic", backend=compiled)
    layout = Layout({"a": (100,), "b": (33,), "c": (217,)}, groups={"b": "other"})
    cut = Optimizer(
        draw(0, 350), "adam", states="bfloat16", rounding="stochastic", backend=compiled, layout=layout,
        groups={"other": {"eps": 1.0}},
    )  # fmt: skip
    one, other = step(whole, 1, 2), step(cut, 1, 2)
    for buffer in ("exp_avg", "exp_avg_sq"):  # which do not depend on eps
        assert bits(one[buffer]) == bits(other[buffer])


def test_a_small_change_is_lost_to_nearest_and_kept_at_random(backend):
    """2000 steps of a thousandth of a unit in the last place: the mean has to move by two units."""
    moved = {}
    for rounding in ("nearest", "stochastic"):
        p = np.ones(1000, BFLOAT16)
        optimizer = Optimizer(p, "sgd", lr=2.0**-17, rounding=rounding, backend=backend)
        g = np.full(p.size, -1.0, BFLOAT16)
        for _ in range(2048):
            optimizer.step(g)
        moved[rounding] = p.astype("float64").mean() - 1
    assert moved["nearest"] == 0
    assert moved["stochastic"] == pytest.approx(2.0**-6, rel=0.05)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_a_continued_optimizer_has_the_bits_of_one_that_was_not_stopped(rounding, backend):
    expected = step(optimizer_of("adam", backend, rounding=rounding, seed=9), 1, 2, 3, 4)
    first = optimizer_of("adam", backend, rounding=rounding, seed=9)
    step(first, 1, 2)
    second = optimizer_of("adam", backend)
    second.parameters[:] = first.parameters
    second.load_state_dict(first.state_dict())
    assert bits(*step(second, 3, 4).values()) == bits(*expected.values())


@pytest.mark.parametrize(
    ("parameters", "options", "words"),
    [
        ("float64", {"states": "bfloat16"}, ["states", "'bfloat16'", "float64"]),
        ("float64", {"states": "float32"}, ["states", "'float32'", "'float64'"]),
        ("float32", {"states": "float16"}, ["states", "'float16'", "'bfloat16'"]),
        ("float32", {"rounding": "up"}, ["rounding", "'up'", "stochastic"]),
        ("float32", {"seed": -1}, ["seed", "-1"]),
    ],
)
def test_what_is_no_storage_is_refused(parameters, options, words):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are looked at below
        Optimizer(np.zeros(3, parameters), "adam", backend="reference", **options)
    assert all(word in str(refused.value) for word in words)


def test_a_gradient_of_another_dtype_is_refused(backend):
    optimizer = Optimizer(np.zeros(3, BFLOAT16), "adam", backend=backend)
    assert optimizer.state["exp_avg"].dtype == FLOAT32
    with pytest.raises(TypeError, match=r"gradients: got dtype float32, expected bfloat16"):
        optimizer.step(np.zeros(3, np.float32))


def test_states_of_another_dtype_are_not_loaded():
    with pytest.raises(ValueError, match=r"got bfloat16 .* expected float32"):
        Optimizer(draw(0, 350), "adam").load_state_dict(Optimizer(draw(0, 350), "adam", states="bfloat16").state_dict())


@pytest.mark.parametrize(("kind", "expected"), [("states", 20), ("parameters", 22), ("all", 14)])
def test_the_bytes_of_a_step_follow_the_storage(kind, expected):
    assert storage(kind).bytes_per_parameter(RULES["adam"]) == expected


def test_importing_fastopt_does_not_import_ml_dtypes():
    code = "import sys, numpy, fastopt; fastopt.Optimizer(numpy.zeros(3)); assert 'ml_dtypes' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# Training, and files


def train(backend, rounding, *, threads=2, epochs=2, rule="adam", **options):

    random = np.random.default_rng(0)
    x, y = random.random((90, 20), "float32"), random.integers(0, 5, 90)
    model = MLP((20, 40, 5), seed=1)
    options = {"states": "bfloat16", "rounding": rounding, "seed": 5, "threads": threads, **options}
    optimizer = model.make_optimizer(rule, backend=backend, **options)
    training = Training(model, optimizer, Dataset(x, y, None, "data", "arrays"), epochs=epochs, batch_size=16)
    return training, optimizer


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize(("rule", "limit"), [("adam", None), ("momentum", 0.5), ("lamb", None)])
def test_compiled_epochs_have_the_bits_of_single_steps(rule, limit, rounding, compiled):
    """A gradient that has to be finite is looked at by the host, so that each step is taken alone."""
    expected = None
    for by_steps in (True, False):
        for threads in (1, 2):
            training, optimizer = train(
                compiled, rounding, threads=threads, rule=rule, max_norm=limit, skip_nonfinite=by_steps
            )
            list(training.run())
            assert all(state.dtype == BFLOAT16 for state in optimizer.state.values())
            expected = expected or bits(*contents(optimizer).values())
            assert bits(*contents(optimizer).values()) == expected
            assert training._program.takes_many != by_steps


def test_fit_takes_the_storage_of_the_states(backend):

    random = np.random.default_rng(0)
    x, y = random.random((64, 20), "float32"), random.integers(0, 2, 64)
    losses = {}
    for states in (None, "bfloat16"):
        options = {"states": states, "rounding": "stochastic" if states else "nearest", "backend": backend}
        history = MLP((20, 16, 2), seed=1).fit(x, y, epochs=3, lr=0.01, progress=False, **options)
        losses[states] = history[-1].train_loss
    assert losses[None] != losses["bfloat16"] == pytest.approx(losses[None], rel=0.02)


@needs("numba", "c")
def test_training_steps_agree_in_numba_and_c():
    given = []
    for backend in ("numba", "c"):
        training, optimizer = train(backend, "stochastic")
        list(training.run())
        given.append(bits(*contents(optimizer).values()))
    assert given[0] == given[1]


def test_a_saved_training_is_continued_to_the_bit(tmp_path, compiled):
    from fastopt.runs.checkpoint import save_checkpoint

    training, optimizer = train(compiled, "stochastic", epochs=1)
    list(training.run())
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, training.model, optimizer)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    assert header["optimizer/exp_avg/layers.0.weight"]["dtype"] == "BF16"
    loaded = load_checkpoint(path)
    continued = loaded.model.make_optimizer("adam", backend=compiled, states="bfloat16")
    continued.load_state_dict(loaded.optimizer)
    assert bits(*contents(continued).values()) == bits(*contents(optimizer).values())
    for one in (optimizer, continued):
        one.step(draw(1, one.parameters.size))
    assert bits(*contents(continued).values()) == bits(*contents(optimizer).values())


def test_a_file_with_bfloat16_is_read_by_a_process_that_has_not_met_it(tmp_path):
    from fastopt.runs.checkpoint import save_checkpoint

    training, optimizer = train("reference", "nearest", epochs=1)
    save_checkpoint(tmp_path / "model.safetensors", training.model, optimizer)
    code = (
        "import sys; from pathlib import Path; from fastopt.runs.checkpoint import load_checkpoint; "
        "print(load_checkpoint(Path(sys.argv[1])).optimizer['state']['exp_avg'].dtype)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.safetensors")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "bfloat16"


# What the compilers made of it


@needs("numba")
@pytest.mark.parametrize("name", [name for name in RULES if name in SWEEPS and not SWEEPS[name].sums])
def test_the_loops_of_numba_convert_whole_vectors(name):
    import platform
    import re

    from numba.core.ccallback import CFunc

    from fastopt.backends.numba.rule import compiled_pass

    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("reads x86-64 instructions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CFunc, "enable_caching", lambda function: None)
        function = compiled_pass.__wrapped__(SWEEPS[name], storage("all", "stochastic"))
    assembly = function._library.get_asm_str()
    assert re.search(r"\bv?pmovzxwd\b|\bv?punpcklwd\b", assembly), "no packed load"
    if SWEEPS[name].writes:
        assert re.search(r"\bv?pmulld\b|\bv?pmuludq\b", assembly), "no packed random bits"
        assert re.search(r"\bv?packusdw\b|\bvpmovdw\b|\bv?pshufb\b", assembly), "no packed store"


@rule
def drifting(p, g, v, v_key, i, numbers, *, lr=0.01, beta=0.9):
    """States whose names mean something else in generated code."""
    v = fma(beta, v, g)
    v_key, i, numbers = v_key + 1.0, fma(0.5, i, v), numbers - g
    return fma(-lr, v, p), v, v_key, i, numbers


@needs("numba", "c")
@needs_compiler
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_a_user_s_rule_has_the_same_bits_in_numba_and_c(rounding):
    given = []
    for backend in ("numba", "c"):
        optimizer = Optimizer(draw(0, 350), drifting, backend=backend, states="bfloat16", rounding=rounding)
        given.append(bits(*step(optimizer, 1, 2, 3).values()))
    assert given[0] == given[1]


@needs_compiled
def test_a_run_with_states_of_bfloat16_is_resumed_to_the_bit(tmp_path, capsys):
    options = ["--quiet", "--hidden", "16", "--states", "bfloat16", "--rounding", "stochastic", "--seed", "3"]
    whole, first = tmp_path / "whole", tmp_path / "first"
    assert main(["train", *options, "--epochs", "4", "--out", str(whole)]) == 0
    assert main(["train", *options, "--epochs", "2", "--out", str(first)]) == 0
    assert main(["train", "--quiet", "--resume", str(first), "--epochs", "4"]) == 0
    models = [load_checkpoint(folder / "model.safetensors") for folder in (whole, first)]
    assert models[0].optimizer["step"] == models[1].optimizer["step"] > 0
    for name, values in models[0].optimizer["state"].items():
        assert values.dtype == BFLOAT16
        assert bits(values) == bits(models[1].optimizer["state"][name])
    assert bits(models[0].model.parameters) == bits(models[1].model.parameters)
    np.save(tmp_path / "rows.npy", np.zeros((2, 64), np.float32))
    assert main(["predict", str(first), str(tmp_path / "rows.npy")]) == 0


def test_rounding_without_bfloat16_is_refused():
    with pytest.raises(
        ValueError, match=r"rounding: got 'stochastic' with buffers of float32 alone.*states='bfloat16'"
    ):
        Optimizer(np.zeros(3, np.float32), rounding="stochastic")


def test_what_an_optimizer_is_called_says_how_states_lie():
    optimizer = Optimizer(np.zeros(3, np.float32), "sgd", states="bfloat16", rounding="stochastic", backend="reference")
    assert "3 float32, states of bfloat16 (stochastic)" in repr(optimizer)


def test_an_entry_that_is_missing_is_named():
    optimizer = Optimizer(draw(0, 9), "adam", backend="reference")
    saved = optimizer.state_dict()
    del saved["rounding"]
    with pytest.raises(ValueError, match="state: got no rounding, expected what state_dict"):
        optimizer.load_state_dict(saved)
