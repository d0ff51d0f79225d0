"""The peers of the folder ``bench/`` on the CPU: what each runs, and that those that are installed are right."""

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest
from bench_folder import ROOT, bench_module
from conftest import needs
from test_bench import losses_of

from fastopt import RULES
from fastopt.bench.cases import GpuCase, StepCase, TrainCase
from fastopt.bench.contenders import CONTENDERS, choose_peers, make_stepper, peers
from fastopt.bench.results import Results
from fastopt.bench.validation import LOSS_TOLERANCE, STEP_TOLERANCE, step_error, train_reference

PEERS = bench_module("bench.peers").PEERS


def those_that(condition):
    return pytest.mark.parametrize("peer", [peer for peer in PEERS if condition(peer)], ids=lambda peer: peer.name)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    for peer in PEERS:
        assert peer.name not in CONTENDERS
        monkeypatch.setitem(CONTENDERS, peer.name, peer)


def run_in(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def skip_without(peer):
    lacking = [module for module in peer.needs if find_spec(module) is None]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")


# --- the table


@those_that(lambda peer: True)
def test_a_peer_has_a_class_for_what_it_runs(peer):
    module = import_module(peer.module)  # which imports its library later
    assert (hasattr(module, "Stepper"), hasattr(module, "Trainer")) >= (peer.steps, peer.trains)
    assert set(peer.rules) <= set(RULES)
    assert peer.steps or peer.trains


def test_a_peer_runs_the_rules_that_it_has():
    assert CONTENDERS["torch-fused"].runs(StepCase("adam", "float32", 10))
    assert not CONTENDERS["torch-fused"].runs(StepCase("rmsprop", "float32", 10))
    assert not CONTENDERS["deepspeed"].runs(StepCase("adam", "float64", 10))
    assert not CONTENDERS["cuda-c"].runs(GpuCase("mine.py:drag", "float32", 10))


def test_peers_take_part_where_fastopt_computes():
    assert {CONTENDERS[name].device for name in peers(["cpu"])} == {"cpu"}
    assert {CONTENDERS[name].device for name in peers(["cuda"])} == {"cuda"}
    on_cpu, on_gpu = peers(["cpu"], trains=True), peers(["cuda"], trains=True)
    assert on_gpu == ["torch-gpu", "torch-gpu-compiled-step", "torch-gpu-graph"]
    assert set(on_cpu) == {"torch", "torch-flush", "torch-compiled-step", "jax", "scikit-learn", "keras"}
    assert {*peers(["cpu", "cuda"], trains=True)} == {*on_cpu, *on_gpu}
    assert choose_peers(["torch"], on_gpu) == on_gpu


def test_variants_of_our_own_kernels_take_part_where_they_are_named():
    assert "elements-2" not in choose_peers(["all"], peers(["cuda"]))
    assert choose_peers(["elements"], peers(["cuda"])) == [f"elements-{count}" for count in (1, 2, 4, 8)]


# --- the libraries that are here


@those_that(lambda peer: peer.steps and peer.device == "cpu")
@pytest.mark.parametrize("kind", ["step", "clip"])
def test_steps_of_a_peer_are_right(peer, kind):
    skip_without(peer)
    for rule in peer.rules:
        for dtype in peer.dtypes:
            case = StepCase(rule, dtype, 999, kind=kind)
            if peer.runs(case):
                assert step_error(case, make_stepper(peer)) <= STEP_TOLERANCE[dtype], (rule, dtype)


@those_that(lambda peer: peer.trains and peer.device == "cpu")
def test_training_of_a_peer_is_right(peer):
    skip_without(peer)
    case = TrainCase((784, 16, 10), batch=32, rows=320)
    before, reference = train_reference(case)
    assert abs(losses_of(peer.name, case) - reference) <= LOSS_TOLERANCE * (before - reference)


# --- the command


def test_the_readme_s_contender_runs(tmp_path):
    text = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    short = '"--quick", "--sizes", "1000", "--backend", "reference", "--out", "r.json", "--peers"'
    (tmp_path / "my_sgd.py").write_text(code.replace('"--peers"', short), encoding="utf-8")
    run_in(tmp_path, "my_sgd.py")
    rows = {row.contender: row for row in Results.load(tmp_path / "r.json").rows}
    assert (rows["mine"].role, rows["mine"].status) == ("peer", "ok")


@needs("c")
def test_the_command_has_the_peers(tmp_path):
    arguments = "train --quick --backend c --sizes 784-16-10 --batches 32 --threads 1 --out r.json --peers"
    run_in(tmp_path, "-m", "bench", *arguments.split(), "scikit-learn", "keras")
    results = Results.load(tmp_path / "r.json")
    measured = {row.contender: row.role for row in results.rows if row.status == "ok"}
    assert {*measured, *results.missing} == {"fastopt-c", "scikit-learn", "keras"}
    assert measured["fastopt-c"] == "own"
    assert all(
        ("scikit-learn" in found) == (find_spec("sklearn") is not None) for found in (measured, results.versions)
    )
