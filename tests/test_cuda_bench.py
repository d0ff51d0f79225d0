"""The GPU's benchmark without one: its plan and tables, its kernels compiled, and all of it simulated."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import cuda_ptx
import pytest
from conftest import DTYPES
from test_bench import USER_RULE, run, summary

from fastopt.backends import why_missing
from fastopt.bench import suites
from fastopt.bench.cases import GPU_KINDS, MOVED, GpuCase, StepCase, case_from_dict, start_block
from fastopt.bench.contenders import CONTENDERS, own_contenders
from fastopt.bench.contenders.base import repeated
from fastopt.bench.gpu.plan import COLD, bytes_held, bytes_of, fits_together, plan_gpu, rotation, why_too_large
from fastopt.bench.gpu.tables import copy_bandwidth
from fastopt.bench.results import Results, new_results
from fastopt.bench.rounds import Effort, left_out
from fastopt.bench.rows import Row
from fastopt.cli import main

INSTALLED = importlib.util.find_spec("numba_cuda") is not None

needs_compiler = pytest.mark.skipif(not INSTALLED, reason="numba-cuda is not installed: pip install 'fastopt[cuda]'")
each_architecture = pytest.mark.parametrize("architecture", cuda_ptx.ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)

MIB = 1 << 20


# --- the plan


@pytest.mark.parametrize(
    ("size", "sets"), [(10_000, 750), (1_000_000, 8), (7_500_000, 1), (7_499_999, 2), (1_000_000_000, 1)]
)
def test_so_many_sets_of_buffers_take_turns_that_the_cache_holds_none(size, sets):
    case, cache = GpuCase("adam", "float32", size), 30_000_000
    assert rotation(case, cache) == sets
    assert sets * bytes_held(case) >= COLD * cache


def test_a_graph_has_several_steps_and_a_launch_of_one_parameter_no_limit_of_memory():
    assert rotation(GpuCase("adam", "float32", 10_000_000, "graph"), MIB) == 16
    assert rotation(GpuCase("adam", "float32", 10_000, "graph"), 50 * MIB) > 16
    assert rotation(GpuCase("adam", "float32", 1, "launch"), 50 * MIB) < 100
    assert rotation(GpuCase("adam", "float32", 1, "overhead"), 50 * MIB) == 1


@pytest.mark.parametrize(("rule", "words"), [("sgd", 3), ("adam", 7)])
def test_bytes_are_those_of_the_streams(rule, words):
    assert bytes_of(GpuCase(rule, "float32", 1000)) == 4000 * words
    assert bytes_of(GpuCase(rule, "float64", 1000, "graph")) == 8000 * words


def test_movements_have_their_own_bytes():
    assert [bytes_of(GpuCase(name, "float32", 1000, "memory")) for name in MOVED] == [8000, 8000, 12_000]


def test_the_device_s_memory_is_measured_first_and_graphs_where_a_launch_counts():
    plan = plan_gpu(["sgd", "adam"], DTYPES, (10_000, 1_000_000, 100_000_000), GPU_KINDS)
    assert [case.rule for case in plan[:9]] == ["memcpy"] * 3 + ["copy"] * 3 + ["triad"] * 3
    assert [case.size for case in plan[:3]] == [10_000, 1_000_000, 100_000_000]
    assert {case.size for case in plan if case.kind == "step"} == {10_000, 1_000_000, 100_000_000}
    assert {case.size for case in plan if case.kind == "graph"} == {10_000, 1_000_000}
    assert {case.size for case in plan if case.kind in ("launch", "overhead")} == {1}
    assert {case.kind for case in plan_gpu(["sgd"], ["float32"], (1000,), ["graph"])} == {"graph"}


def test_what_the_memory_does_not_hold_is_left_out_with_its_reason():
    case = GpuCase("adam", "float64", 1_000_000_000)
    assert why_too_large(case, 100_000_000_000, MIB) is None
    assert "51.2 GB of the device's memory, of which 40 GB are free" in why_too_large(case, 40_000_000_000, MIB)
    assert fits_together(case, 2, 150_000_000_000, MIB)
    assert not fits_together(case, 3, 150_000_000_000, MIB)


def test_cases_survive_json():
    case = GpuCase("adam", "float32", 10, "graph")
    assert case_from_dict(json.loads(json.dumps(case.as_dict()))) == case


def test_contenders_of_the_gpu_and_of_the_cpu_do_not_mix():
    assert own_contenders(["numba"]) == ["fastopt-numba"]
    assert not CONTENDERS["fastopt-numba"].runs(GpuCase("adam", "float32", 10, "step"))
    assert CONTENDERS["fastopt-cuda"].runs(GpuCase("mine.py:drag", "float32", 10, "graph"))
    assert not CONTENDERS["fastopt-cuda"].runs(StepCase("adam", "float32", 10))


def test_a_block_is_repeated_to_its_end():
    assert [where.stop - where.start for where, _ in repeated(10, 4)] == [4, 4, 2]
    p, g = start_block("float32", 3_000_000)
    assert p.size == g.size == MIB


# --- kernels of the benchmark


@needs_compiler
@each_architecture
@pytest.mark.parametrize("name", ["copy", "triad"])
def test_movements_load_and_store_vectors(name, architecture):
    from numba import cuda

    from fastopt.backends.cuda import movements

    function, buffers = getattr(movements, f"{name}_function"), MOVED[name]
    ptx, _ = cuda.compile_ptx(function, movements.movement_signature(buffers), cc=architecture)
    counts = cuda_ptx.instructions(ptx)
    assert sum(n for name, n in counts.items() if re.fullmatch(r"ld\.global(\.nc)?\.v4\.f32", name)) == buffers - 1
    assert counts["st.global.v4.f32"] == 1
    assert ".local" not in ptx


@needs_compiler
def test_the_pause_sleeps():
    from numba import cuda

    from fastopt.backends.cuda import clock

    ptx, _ = cuda.compile_ptx(clock.pause_function, clock.pause_signature(), cc=(9, 0))
    assert "nanosleep.u32" in ptx


# --- the clock


class Event:
    """An event that had not been reached when it was first asked, so often; the GPU takes two milliseconds."""

    def __init__(self, answers):
        self.answers = answers

    def record(self):
        pass

    def query(self):
        return self.answers.pop(0)

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 2.0


@needs_compiler
@pytest.mark.parametrize(
    ("had_begun", "pauses", "behind"),
    [([False], [50], False), ([True, True, False], [50, 100, 200], False), ([True] * 99, None, True)],
)
def test_work_is_repeated_after_a_longer_pause_until_the_host_was_ahead(had_begun, pauses, behind, monkeypatch):
    from fastopt.backends.cuda import clock

    waited, worked = [], []
    monkeypatch.setattr(clock, "_event", lambda: Event(list(had_begun)))
    monkeypatch.setattr(clock, "_wait", waited.append)
    monkeypatch.setattr(clock.shim, "synchronize", lambda: None)
    watch = clock.Clock()
    assert watch.seconds(lambda: worked.append(1)) == 2e-3
    assert watch.behind is behind
    assert pauses is None or (waited, len(worked)) == (pauses, len(pauses))
    if behind:
        once = len(waited), len(worked) + 1
        watch.seconds(lambda: worked.append(1))
        assert (len(waited), len(worked)) == once  # it was waited for in vain: that is not done again


# --- tables


GPU = {
    "name": "some GPU (sm_90)",
    "simulated": False,
    "memory_bytes": 1 << 37,
    "l2_bytes": 50 * MIB,
    "multiprocessors": 132,
    "clock_mhz": 1980,
    "memory_clock_mhz": 3201,
    "driver": "580.1",
}


def gpu_row(case, contender, milliseconds, **figures):
    role = {"torch-gpu-fused": "peer", "cuda-c": "twin"}.get(contender) or CONTENDERS[contender].role
    figures = {"bytes": bytes_of(case), "sets": 3, "host_bound": False, **figures}
    return Row(case.as_dict(), contender, role, "ok", "", summary(milliseconds, milliseconds), figures)


def gpu_results(simulated=False):
    results = new_results("gpu", ["bench", "step", "--backend", "cuda"], 2)
    results.machine = {**results.machine, "gpu": {**GPU, "simulated": simulated}}
    results.missing = {"cupy": "No module named 'cupy'"}
    kernel = {"registers": 40, "local_bytes": 0, "occupancy": 0.75}
    for name, milliseconds in (("memcpy", 0.2), ("copy", 0.25)):
        results.rows.append(gpu_row(GpuCase(name, "float32", 100_000_000, "memory"), "device", milliseconds))
    for case in (GpuCase("adam", "float32", 100_000_000), GpuCase("adam", "float32", 100_000, "graph")):
        results.rows += [gpu_row(case, "cuda-roof", 0.7), gpu_row(case, "fastopt-cuda", 1.0, kernel=kernel)]
        results.rows += [gpu_row(case, "torch-gpu-fused", 1.2, host_bound=True), gpu_row(case, "cuda-c", 0.99)]
    overhead = GpuCase("adam", "float32", 1, "overhead")
    results.rows += [gpu_row(overhead, "fastopt-cuda", 0.02), left_out(GpuCase("sgd", "float32", 10**10), "too large")]
    return results


def test_the_table_has_roof_copy_twin_and_best_peer():
    text = report_of(gpu_results())
    assert text.startswith("some GPU (sm_90), 128 GiB, 50 MiB of L2, 132 multiprocessors, 1980 MHz")
    line = next(line for line in text.splitlines() if line.split()[:2] == ["100,000,000", "fastopt-cuda"])
    assert line.split()[2:8] == ["1,000", "1,000–1,000", "2,800.0", "70%", "70%", "3"]
    assert line.split()[8:] == ["0.99", "×", "as", "long", "1.20", "×", "as", "long", "(torch-gpu-fused)"]
    assert "adam, float32: one step in a captured graph" in text
    assert "1,200 *" in text
    assert "*: the GPU waited for the host" in text
    assert "a step of one parameter on the host: fastopt-cuda, adam float32: 20.0 µs" in text
    assert "left out: all on step of sgd float32, 10,000,000,000 parameters: too large" in text
    assert next(line for line in text.splitlines() if "40" in line.split()).split() == [
        *("float32", "adam", "fastopt-cuda", "40", "0", "75%")
    ]
    assert "simulat" not in text


def report_of(results):
    from fastopt.bench.report import report

    return report(results)


def test_figures_of_the_simulator_are_marked():
    text = report_of(gpu_results(simulated=True))
    assert text.startswith("NO GPU: ")
    assert "adam, float32: one step on the GPU (simulated)" in text


def test_results_survive_their_file_and_are_drawn(tmp_path, capsys):
    results = gpu_results()
    results.rows.insert(3, left_out(GpuCase("adam", "float32", 10**10), "too large"))
    results.save(tmp_path / "gpu.json")
    status, out, _ = run(capsys, "report", tmp_path / "gpu.json", "--plot")
    assert status == 0
    assert report_of(results).partition("\n\n*:")[0] in out
    assert out.count("adam, float32: one step on the GPU\n") == 1
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")


def test_the_copy_bandwidth_is_the_best_copy_s():
    assert copy_bandwidth(gpu_results()) == pytest.approx(8e8 / 0.2e-3)
    assert copy_bandwidth(new_results("gpu", [], 1)) is None


# --- the command


@pytest.mark.skipif(why_missing("cuda") is None, reason="there is a GPU here")
@pytest.mark.parametrize("words", ["--backend cuda", "step --backend cuda --quick", "train --backend cuda --quick"])
def test_without_a_gpu_it_is_one_sentence(words, capsys):
    assert main(["bench", *words.split()]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "the cuda backend is missing" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "cuda", "numba"), "expected only cuda"),
        (("--backend", "cuda", "--kinds", "clip"), "unknown kind 'clip'"),
        (("--backend", "cuda", "--peers", "torch-fusedd"), "unknown peer 'torch-fusedd'"),
        (("--backend", "numba", "--budget", "3"), "--budget: got 3, expected none without --backend cuda"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message, capsys):
    status, _, err = run(capsys, "step", *arguments)
    assert status == 1
    assert message in err


class Interrupted:
    """Workers that are interrupted at Adam."""

    missing = ()
    present = ("fastopt-cuda",)
    threads = 1

    def __init__(self, names, threads):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def connect(self, name):
        pass

    def facts(self, name):
        return {**GPU, "simulated": True, "free_bytes": 1 << 40}

    def ask(self, name, do, case, **values):
        if case["rule"] == "adam":
            raise KeyboardInterrupt
        answers = {"start": {"seconds_per_call": [1.0]}, "round": {"seconds": [[1.0]]}, "check": {"error": 0.0}}
        return answers.get(do, {})


@pytest.mark.parametrize(("budget", "why"), [(1e9, "interrupted"), (0.0, "0 seconds had passed")])
def test_what_was_measured_before_an_end_is_kept(budget, why, monkeypatch):
    monkeypatch.setattr(suites, "Workers", Interrupted)
    cases = [GpuCase(rule, "float32", 1000) for rule in ("sgd", "adam", "adamw")]
    results = suites.run_gpu(new_results("gpu", ["bench"], 1), cases, [], Effort(0.0, 2, 2), budget)
    found = [(row.case["rule"], row.status, row.note) for row in results.rows]
    first = ("sgd", "ok", "") if budget else ("sgd", "left out", why)
    assert found == [first, ("adam", "left out", why), ("adamw", "left out", why)]


def test_the_cpu_s_cases_are_kept_too_and_without_any_the_interruption_goes_on(monkeypatch):
    monkeypatch.setattr(suites, "Workers", Interrupted)
    monkeypatch.setattr(Interrupted, "present", ("roof",))
    cases = [StepCase(rule, "float32", 1000) for rule in ("sgd", "adam")]
    results = suites.run_steps(new_results("step", ["bench"], 1), cases, [], Effort(0.0, 2, 2))
    assert [(row.case["rule"], row.status) for row in results.rows] == [("sgd", "ok"), ("adam", "left out")]
    assert "left out: all on step of adam" in report_of(results)
    with pytest.raises(KeyboardInterrupt):
        suites.run_steps(new_results("step", ["bench"], 1), cases[1:], [], Effort(0.0, 2, 2))


# --- simulated


def simulated(*command, cwd):
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": ":".join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=cwd, capture_output=True, text=True, timeout=300
    )


@needs_compiler
def test_the_whole_benchmark_in_the_simulator(tmp_path):
    (tmp_path / "mine.py").write_text(USER_RULE, encoding="utf-8")
    arguments = ("--quick", "--sizes", "64", "1e6", "--rule", "mine.py:drag")
    files = ("--out", "gpu.json", "--plot", "gpu.png")
    done = simulated("-m", "fastopt", "bench", "--backend", "cuda", *arguments, *files, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("NO GPU: simulator of numba-cuda")
    assert "mine.py:drag, float32: one step on the GPU (simulated)" in done.stdout
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")
    results = Results.load(tmp_path / "gpu.json")
    assert results.suite == "gpu"
    assert results.machine["gpu"]["simulated"] is True
    assert results.missing == {}
    statuses = {(*map(row.case.get, ("rule", "kind", "size")), row.contender): row.status for row in results.rows}
    assert {status for (_, _, size, _), status in statuses.items() if size == 1_000_000} == {"left out"}
    assert {statuses[name, "memory", 64, "device"] for name in MOVED} == {"ok"}
    for kind, size in (("step", 64), ("graph", 64), ("launch", 1), ("overhead", 1)):
        assert statuses["mine.py:drag", kind, size, "fastopt-cuda"] == "ok", done.stdout
    timed = [row for row in results.rows if row.timed]
    assert all(row.median > 0 and row.figures["error"] < 1e-3 for row in timed)
