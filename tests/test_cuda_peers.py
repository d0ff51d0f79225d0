"""The GPU's part of ``bench/`` without a GPU: kernels in CUDA C compiled, goals, the comparison of bits simulated."""

import json
import re
from functools import cache

import cuda_ptx
import pytest
from bench_folder import bench_module
from test_bench import summary
from test_cuda_bench import each_architecture, each_dtype, gpu_results, gpu_row, needs_compiler, simulated

from fastopt import RULES
from fastopt.bench.cases import GpuCase, TrainCase
from fastopt.bench.results import Results, new_results
from fastopt.bench.rounds import left_out
from fastopt.bench.rows import Row

goals, twin = bench_module("bench.goals"), bench_module("bench.twin")


# --- the kernels in CUDA C


@pytest.fixture(scope="module")
def twin_ptx():
    from fastopt.backends.cuda.launch import BLOCK, BLOCKS

    @cache
    def compiled(rule, dtype, architecture):
        target = f"compute_{architecture[0]}{architecture[1]}"
        ptx = twin.compile_twin(RULES[rule], dtype, target, block=BLOCK, blocks=BLOCKS[dtype])
        return ptx.decode().rstrip("\0")

    return compiled


@pytest.mark.parametrize("name", twin.TWINS)
def test_a_rule_is_translated_with_the_prelude(name):
    source = twin.rule_source(RULES[name])
    assert source.count("struct ") == source.count("KERNEL(") == 1
    assert "NAMED(scalar_prelude_scaled)(g, c[GRAD_SCALE], c[CLIP_VALUE])" in source


def test_a_rule_without_a_twin_is_an_error():
    with pytest.raises(LookupError, match=r"rule lamb has no twin in CUDA C; these have one: .*adam"):
        twin.rule_source(RULES["lamb"])


@needs_compiler
@each_architecture
@each_dtype
def test_kernels_in_cuda_c_do_what_ours_do(dtype, architecture, twin_ptx):
    """Vectors in one piece, the rule's own operations for each element, no float64 in float32, no local memory."""
    width, bits = (4, 32) if dtype == "float32" else (2, 64)
    for rule in map(RULES.get, twin.TWINS):
        ptx, states = twin_ptx(rule.name, dtype, architecture), len(rule.states)
        counts = cuda_ptx.instructions(ptx)
        vector = rf"global\.v{width}\.[fub]{bits}"
        assert sum(n for name, n in counts.items() if re.fullmatch(rf"ld\.{vector}", name)) == 2 + states
        assert sum(n for name, n in counts.items() if re.fullmatch(rf"st\.{vector}", name)) == 2 + states
        for operation, count in cuda_ptx.operations(rule.stages[0]).items():
            flush = r"(\.ftz)?" if dtype == "float32" else ""
            pattern = rf"{operation}(\.rn)?{flush}\.f{bits}"
            found = sum(n for name, n in counts.items() if re.fullmatch(pattern, name))
            assert found == count * (width + 1), (rule.name, operation)
        assert ".local" not in ptx
        assert dtype == "float64" or ".f64" not in ptx


@needs_compiler
@each_architecture
@each_dtype
def test_kernels_in_cuda_c_stay_in_registers(dtype, architecture, twin_ptx):
    for name in twin.TWINS:
        registers, spilled = cuda_ptx.assembled(twin_ptx(name, dtype, architecture), architecture)
        assert (registers <= cuda_ptx.MOST_REGISTERS[dtype], spilled) == (True, 0), name


# --- goals


def test_goals_are_printed_with_what_was_measured(tmp_path, capsys):
    gpu_results().save(tmp_path / "gpu-a.json")
    checked = [{"different": {}}, {"different": {"parameters": 1}}]
    (tmp_path / "bits.json").write_text(json.dumps({"complete": True, "checked": checked}), encoding="utf-8")
    training_results(1.1).save(tmp_path / "gpu-train.json")
    (tmp_path / "tests.status").write_text("0\n", encoding="utf-8")
    (tmp_path / "memcheck.status").write_text("compute-sanitizer is not installed\n", encoding="utf-8")
    assert goals.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line.split("  ")[0].strip() + line: line for line in lines[2:]}
    assert lines[0].startswith("some GPU")
    for words in (
        ("copy bandwidth", "MISSED", "0.700 (adam float32 100,000,000)"),
        ("100,000,000, step: speed × PyTorch's fused", "met", "1.200"),
        ("100,000, graph: speed × PyTorch's fused", "MISSED", "1.200 (adam float32 100,000 *)"),
        ("CUDA C", "met", "0.990"),
        ("training: speed × PyTorch's loop", "met", "1.100 (8-4-2 batch 32)"),
        ("training: speed × PyTorch's step as a CUDA graph", "?", "not measured"),
        ("bits of CPU and GPU", "MISSED", "2 comparisons, 1 with different bits"),
        ("tests on the GPU", "met", "clean"),
        ("memory checker", "?", "compute-sanitizer is not installed"),
    ):
        assert any(all(word in line for word in words) for line in found.values()), words


def training_results(milliseconds):
    """Return one case, in which fastopt takes a millisecond."""
    results = new_results("train", ["bench", "train", "--backend", "cuda"], 2)
    case = TrainCase((8, 4, 2), batch=32, rows=64).as_dict()
    for name, taken in (("fastopt-cuda", 1.0), ("torch-gpu", milliseconds)):
        role = "own" if name.startswith("fastopt") else "peer"
        results.rows.append(Row(case, name, role, "ok", "", summary(taken, taken), {}))
    return results


def test_a_goal_of_all_rules_is_open_while_one_is_lacking(tmp_path):
    results = gpu_results()
    results.rows = [row for row in results.rows if row.role != "device"]
    results.rows.append(gpu_row(GpuCase("copy", "float32", 100_000_000, "memory"), "device", 0.8 / 2.8))
    goal = next(iter(goals.goals([results], tmp_path / "none", [])))
    assert (goal.met, goal.found.partition(" cases")[2]) == (True, ", 0 below")
    results.rows.append(left_out(GpuCase("sgd", "float32", 100_000_000), "150 seconds had passed"))
    goal = next(iter(goals.goals([results], tmp_path / "none", [])))
    assert (goal.met, goal.found.partition(" cases")[2]) == (None, ", 0 below, 1 not measured")


def test_what_was_cut_off_is_neither_met_nor_missed(tmp_path):
    (tmp_path / "bits.json").write_text(json.dumps({"complete": False, "checked": [{"different": {}}]}))
    (tmp_path / "tests.status").write_text("124\n")
    *_, equal, tests = goals.goals([], tmp_path / "bits.json", [("tests", tmp_path / "tests.status")])
    assert (equal.met, equal.found) == (None, "1 comparisons, 0 with different bits, interrupted")
    assert (tests.met, tests.found) == (None, "not done when its time was over")


def test_goals_without_figures_are_open(tmp_path):
    assert {goal.met for goal in goals.goals([], tmp_path / "bits.json", [("tests", tmp_path / "none")])} == {None}


# --- simulated


@needs_compiler
def test_the_command_in_the_simulator(tmp_path):
    """Numbers of elements a thread are measured; peers that need a GPU are missing."""
    arguments = ("--quick", "--sizes", "64", "--rule", "adam", "--kinds", "step", "--out", "gpu.json")
    names = ("elements", "cuda-c", "torch-gpu")
    done = simulated("-m", "bench", "--backend", "cuda", *arguments, "--peers", *names, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = Results.load(tmp_path / "gpu.json")
    assert {"cuda-c", "torch-gpu-fused", "torch-gpu-foreach", "torch-gpu-compile"} == set(results.missing)
    rows = {row.contender: row for row in results.rows}
    assert all(rows[f"elements-{count}"].figures["error"] < 1e-3 for count in (1, 2, 4, 8))
