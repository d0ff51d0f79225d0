"""The benchmark's arithmetic, checks, files and tables, and the command end to end; nothing here is about speed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import needs

from fastopt import RULES, Optimizer, get_rule
from fastopt.bench import rounds, suites
from fastopt.bench.cases import (
    KINDS,
    StepCase,
    TrainCase,
    bytes_moved,
    case_from_dict,
    plan_steps,
    start_weights,
    timed_together,
    training_data,
)
from fastopt.bench.contenders import (
    CONTENDERS,
    Contender,
    choose_peers,
    make_stepper,
    make_trainer,
    peers,
    register,
)
from fastopt.bench.contenders import fastopt as own
from fastopt.bench.pictures import draw
from fastopt.bench.report import report
from fastopt.bench.results import Results, new_results, without_folders
from fastopt.bench.roof import ROOFS, roof_rule
from fastopt.bench.rows import Row, best_peer
from fastopt.bench.timing import paired_ratio, plan_round, summarise, time_in_turns, time_samples
from fastopt.bench.validation import (
    LOSS_TOLERANCE,
    STEP_TOLERANCE,
    check_steps,
    mean_loss,
    step_error,
    step_tolerance,
    train_reference,
)
from fastopt.bench.worker import serve
from fastopt.bench.workers import Failure, Workers
from fastopt.cli import main

BACKEND = "reference"

USER_RULE = """
from fastopt import fma, rule

@rule
def drag(p, g, velocity, *, lr=0.01, beta=0.9):
    "v = βv + g;  p −= ηv"
    velocity = fma(beta, velocity, g)
    return fma(-lr, velocity, p), velocity
"""


def run(capsys, *arguments):
    """Return the exit status, what was printed, and what was complained about."""
    status = main(["bench", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# --- the cost model and the roof


@pytest.mark.parametrize(
    ("rule", "words"), [("sgd", 3), ("momentum", 5), ("adam", 7), ("rmsprop_centered_momentum", 9)]
)
@pytest.mark.parametrize(("dtype", "itemsize"), [("float32", 4), ("float64", 8)])
def test_bytes_are_those_of_the_streams(rule, words, dtype, itemsize):
    assert bytes_moved(StepCase(rule, dtype, 1000), RULES[rule]) == 1000 * words * itemsize
    assert bytes_moved(StepCase(rule, dtype, 1000, kind="clip"), RULES[rule]) == 1000 * (words + 1) * itemsize


LOCAL = [rule for rule in RULES.values() if rule.is_local]


def test_a_rule_of_several_sweeps_has_no_roof():
    with pytest.raises(ValueError, match="rule lamb has several sweeps; the roofs are of one"):
        roof_rule(RULES["lamb"])


@pytest.mark.parametrize("rule", LOCAL, ids=lambda rule: rule.name)
def test_the_roof_moves_as_many_bytes_as_the_rule(rule):
    assert roof_rule(rule).words_per_parameter() == rule.words_per_parameter()


@needs("numba")
@pytest.mark.parametrize("roof", ROOFS, ids=lambda roof: roof.name)
def test_the_roof_adds_the_gradient_to_every_stream(roof):
    p = np.array([1.0, 2.0], np.float32)
    optimizer = Optimizer(p, roof, backend="numba")
    optimizer.step(np.array([0.5, -0.5], np.float32))
    for array in (p - [1, 2], *optimizer.state.values()):
        assert array.tolist() == [0.5, -0.5]


@needs("numba")
def test_a_rule_with_more_states_than_any_has_no_roof(monkeypatch):
    monkeypatch.setattr("fastopt.bench.roof.ROOFS", ROOFS[:2])
    with pytest.raises(ValueError, match="adam keeps 2 states; the roofs have up to 1"):
        own.Stepper(StepCase("adam", "float32", 2), np.zeros(2), np.zeros(2), roof=True)


# --- times


def test_the_first_round_is_dropped_and_the_median_is_of_samples():
    found = summarise([[100.0, 100.0], [1.0, 2.0, 9.0], [3.0, 4.0]])
    assert found.median == 3.0
    assert found.samples == 5
    assert found.rounds == (2.0, 3.5)
    assert 1.0 <= found.p10 <= found.median <= found.p90 <= 9.0


def test_short_calls_are_timed_together_and_long_ones_alone():
    assert plan_round(1e-6, 0.05) == (200, 100)
    assert plan_round(1.0, 0.05) == (1, 1)


def test_a_round_warms_up_and_counts_its_calls():
    calls = []
    assert len(time_samples(calls.append, calls=3, samples=4)) == 4
    assert calls == [3] * 5


def test_what_is_timed_together_takes_turns_within_a_round():
    order = []
    runs = [lambda calls, name=name: order.append((name, calls)) for name in "ab"]
    assert [len(seconds) for seconds in time_in_turns(runs, [(3, 40), (1, 20)])] == [40, 20]
    assert order == 10 * ([("a", 3)] * 5 + [("b", 1)] * 3)
    assert [len(seconds) for seconds in time_in_turns(runs, [(1, 1), (1, 20)])] == [1, 20]


def test_ratios_are_taken_within_rounds():
    assert paired_ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == 2.0


# --- checks


class Wrong(own.Stepper):
    """An optimizer with a small fault."""

    def step(self):
        self._optimizer.lr = self._optimizer.lr * 0.99
        super().step()


class Broken(own.Stepper):
    """An optimizer that gives NaN."""

    def parameters(self):
        return np.full_like(super().parameters(), np.nan)


@pytest.mark.parametrize("kind", ["step", "clip"])
@pytest.mark.parametrize("dtype", STEP_TOLERANCE)
@pytest.mark.parametrize("rule", RULES)
def test_a_right_optimizer_passes(rule, dtype, kind, backend):
    case = StepCase(rule, dtype, 999, kind=kind)
    assert step_error(case, make_stepper(CONTENDERS[f"fastopt-{backend}"])) <= STEP_TOLERANCE[dtype] / 10


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.states])
def test_states_of_bfloat16_are_those_of_the_reference(rule, compiled):
    case = StepCase(rule, "float32", 100_003, states="bfloat16")
    assert step_error(case, make_stepper(CONTENDERS[f"fastopt-{compiled}"])) <= step_tolerance(case)


def test_states_of_another_dtype_than_the_case_names_are_caught():
    case = StepCase("schedule_free_adamw", "float32", 999, states="bfloat16")
    plain = StepCase("schedule_free_adamw", "float32", 999)
    make = make_stepper(CONTENDERS[f"fastopt-{BACKEND}"])
    assert step_error(case, lambda _, p, g: make(plain, p, g)) > step_tolerance(case)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_a_wrong_optimizer_is_caught(rule):
    case = StepCase(rule, "float32", 999)
    assert step_error(case, lambda *a: Wrong(*a, backend=BACKEND)) > STEP_TOLERANCE["float32"]
    assert not step_error(case, lambda *a: Broken(*a, backend=BACKEND)) <= STEP_TOLERANCE["float32"]


def test_swapped_betas_are_caught():
    class Swapped(own.Stepper):
        def __init__(self, case, p, g):
            super().__init__(case, p, g, backend=BACKEND)
            self._optimizer = Optimizer(p, "adam", backend=BACKEND, betas=(0.999, 0.9))

    assert step_error(StepCase("adam", "float32", 999), Swapped) > STEP_TOLERANCE["float32"]


def test_numpy_is_right():
    for rule, kind in (("adam", "step"), ("adamw", "clip")):
        error = step_error(StepCase(rule, "float32", 999, kind=kind), make_stepper(CONTENDERS["numpy"]))
        assert error <= STEP_TOLERANCE["float32"]


def losses_of(name, case):
    x, y = training_data(case)
    rows = check_steps(case) * case.batch
    trainer = make_trainer(CONTENDERS[name])(case, start_weights(case.sizes), x[:rows], y[:rows])
    trainer.run(1)
    return mean_loss(trainer.weights(), x, y)


def test_training_reaches_the_loss_of_the_textbook(backend):
    case = TrainCase((784, 16, 10), batch=32, rows=320)
    before, reference = train_reference(case)
    assert reference < before
    assert abs(losses_of(f"fastopt-{backend}", case) - reference) <= LOSS_TOLERANCE * (before - reference) / 10


def test_a_wrong_training_is_caught():
    case = TrainCase((784, 16, 10), batch=32, rows=320)
    before, reference = train_reference(case)
    slower = TrainCase((784, 16, 10), batch=32, rows=320, lr=0.95e-3)
    assert abs(losses_of("fastopt-reference", slower) - reference) > LOSS_TOLERANCE * (before - reference)


# --- cases and contenders


def test_cases_survive_json():
    for case in (StepCase("adam", "float32", 10, 2, "clip"), TrainCase((4, 3, 2), 8, 64, 2, 1)):
        assert case_from_dict(json.loads(json.dumps(case.as_dict()))) == case


def test_the_plan_has_every_kind():
    plan = plan_steps(["sgd", "adam"], ["float32"], (1_000, 100_000), 2, KINDS)
    assert {case.kind for case in plan} == set(KINDS)
    assert {case.size for case in plan if case.kind == "overhead"} == {1}
    assert {case.threads for case in plan if case.kind == "threads"} == {1}
    assert {case.rule for case in plan if case.kind == "denormal"} == {"adam"}


def test_denormal_states_and_one_thread_are_timed_together_with_the_ordinary_step():
    ordinary = StepCase("adam", "float32", 1000, threads=2)
    for kind, threads in (("denormal", 2), ("threads", 1)):
        case = StepCase("adam", "float32", 1000, threads, kind)
        assert timed_together(case, 2) == [case, ordinary]
    assert timed_together(ordinary, 2) == [ordinary]


def test_a_contender_runs_the_rules_that_it_has():
    assert CONTENDERS["numpy"].runs(StepCase("adam", "float32", 10))
    assert not CONTENDERS["numpy"].runs(StepCase("rmsprop", "float32", 10))
    assert not Contender("half", "half", rules=("adam",), dtypes=("float32",)).runs(StepCase("adam", "float64", 10))
    assert CONTENDERS["fastopt-numba"].runs(StepCase("mine.py:drag", "float32", 10))


def test_the_wheel_s_peer_is_numpy():
    assert (peers(["cpu"]), peers(["cuda"]), peers(["cpu", "cuda"], trains=True)) == (["numpy"], [], [])


def test_a_second_contender_of_a_name_is_refused():
    with pytest.raises(ValueError, match="got a second contender named 'numpy', expected a name that is not in use"):
        register(Contender("numpy", "my_numpy"))


def test_peers_are_chosen_by_name_and_family():
    assert choose_peers(["none"], ["numpy"]) == []
    assert choose_peers(["torch"], ["torch", "torch-flush"]) == ["torch"]
    assert choose_peers(["all"], []) == []
    with pytest.raises(
        ValueError, match=r"unknown peer 'tourch': did you mean .* 'python -m bench' has other libraries"
    ):
        choose_peers(["tourch"], ["torch-loop", "torch-fused"])


# --- workers


def test_a_worker_answers_errors_instead_of_ending():
    answers = []
    start = {"do": "start", "case": StepCase("no_such", "float32", 3).as_dict(), "threads": 1}
    requests = [json.dumps(start), '{"do": "hello"}']
    serve(CONTENDERS["numpy"], requests, answers.append)
    assert "no_such" in answers[0]["failed"]
    assert answers[1] == {}


def test_a_missing_library_is_reported():
    answers = []
    serve(Contender("ghost", "ghost", needs=("no_such_library",)), ['{"do": "hello"}'], answers.append)
    assert "no_such_library" in answers[0]["missing"]


@pytest.mark.parametrize(("kind", "together"), [("step", 1), ("denormal", 2), ("threads", 2)])
def test_a_worker_times_together_what_is_compared(kind, together):
    answers = []
    case = StepCase("adam", "float32", 1000, 1, kind).as_dict()
    requests = [{"do": "start", "threads": 2}, {"do": "round", "plans": [(1, 3)] * together}]
    serve(CONTENDERS["numpy"], [json.dumps(request | {"case": case}) for request in requests], answers.append)
    assert len(answers[0]["seconds_per_call"]) == together
    assert [len(seconds) for seconds in answers[1]["seconds"]] == [3] * together


def test_a_worker_that_ends_is_a_failure(monkeypatch, tmp_path):
    (tmp_path / "leaver.py").write_text(f"raise SystemExit('no licence in {tmp_path}/licences')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(CONTENDERS, "leaver", Contender("leaver", "leaver"))
    with Workers(["leaver"], 1) as workers:
        workers.connect("leaver")
        assert workers.missing["leaver"] == "its process ended with status 1: no licence in licences"


class FakeWorkers:
    """Workers that answer at once; one of them fails in its second round."""

    threads = 2

    def __init__(self):
        self.asked = []

    def ask(self, name, do, case, **values):
        self.asked.append((name, do))
        if name == "numpy" and self.asked.count((name, "round")) == 2:
            raise Failure("out of luck")
        together = [0.1] if case["kind"] == "step" else [0.1, 0.2]
        answers = {"seconds_per_call": together}, {"seconds": [[seconds] for seconds in together]}, {"error": 0.0}
        return dict(zip(("start", "round", "check"), answers, strict=True)).get(do, {})


@pytest.mark.parametrize("kind", ["step", "denormal"])
@pytest.mark.parametrize("memory", [1 << 40, 800_000])
def test_contenders_take_turns_and_one_that_fails_falls_out(memory, kind, monkeypatch):
    monkeypatch.setattr(rounds, "available_memory", lambda: memory)
    workers, names = FakeWorkers(), ["roof", "fastopt-c", "numpy"]
    case = StepCase("adam", "float32", 5_000 if kind == "denormal" else 10_000, 2, kind)
    rows = rounds.measure_step(workers, case, names, rounds.Effort(0.0, 2, 2), lambda text: None)
    assert [row.status for row in rows] == ["ok", "ok", "failed"]
    assert [name for name, do in workers.asked if do == "round"][:6] == names * 2
    assert rows[0].seconds["rounds"] == [0.1] * 2
    assert rows[0].figures.get("ordinary", {}).get("rounds") == (None if kind == "step" else [0.2] * 2)
    assert (workers.asked.count(("roof", "start")) > 1) == (memory < 1 << 40)


def test_what_does_not_fit_into_memory_is_said(monkeypatch):
    monkeypatch.setattr(rounds, "available_memory", lambda: 10)
    row = rounds.measure_step(FakeWorkers(), StepCase("adam", "float32", 5_000), ["roof"], rounds.Effort(), print)[0]
    assert (row.status, row.note) == ("failed", "not enough memory here")


# --- files and tables


def summary(*milliseconds):
    return summarise([[1.0], *[[value * 1e-3] for value in milliseconds]]).as_dict()


def step_row(contender, milliseconds, size=1000, status="ok", ordinary=None, **case):
    role = "roof" if contender == "roof" else "own" if contender.startswith("fastopt") else "peer"
    seconds = summary(milliseconds, milliseconds) if status != "failed" else {}
    figures = {"bytes": 28 * size} | ({"ordinary": ordinary} if ordinary else {})
    values = StepCase("adam", "float32", size, **case).as_dict()
    return Row(values, contender, role, status, "why" if status != "ok" else "", seconds, figures)


def step_results():
    results = new_results("step", ["bench", "step"], 2)
    results.missing = {"deepspeed": "No module named 'deepspeed'"}
    for size in (1000, 10_000):
        results.rows += [step_row("roof", 1.0, size), step_row("fastopt-numba", 2.0, size)]
        results.rows += [step_row("torch-fused", 5.0, size), step_row("optax", 1.5, size, "wrong")]
    results.rows += [step_row("fastopt-numba", 3.0, kind="denormal", ordinary=summary(2.0, 3.0))]
    results.rows += [step_row("fastopt-numba", 3.0, kind="threads", ordinary=summary(1.5, 2.0))]
    results.rows += [step_row("fastopt-numba", 0.5, 1, kind="overhead"), step_row("optax", 0, 7, "failed")]
    return results


def train_results():
    results = new_results("train", ["bench", "train"], 2)
    for batch in (1, 32):
        case = TrainCase((784, 128, 10), batch, 1024, threads=2).as_dict() | {"sizes": [784, 128, 10]}
        figures = {"samples": 1024, "peak_bytes": 5e7, "loss": 1.0, "step_p50": 1e-4, "step_p99": 2e-4}
        for name, role, seconds in (("fastopt-c", "own", 0.1), ("torch", "peer", 0.2)):
            found = summarise([[9.0], [seconds], [seconds]]).as_dict()
            results.rows.append(Row(case, name, role, "ok", "", found, figures))
    return results


@pytest.mark.parametrize("make", [step_results, train_results])
def test_results_survive_their_file(make, tmp_path):
    results, file = make(), tmp_path / "results.json"
    results.save(file)
    again = Results.load(file)
    assert report(again) == report(results)
    assert sorted(map(str, again.rows)) == sorted(map(str, results.rows))
    assert str(tmp_path) not in file.read_text(encoding="utf-8")
    assert set(json.loads(file.read_text(encoding="utf-8"))) == {
        *("schema", "suite", "date", "command", "machine", "versions", "commit", "missing", "roof", "rows")
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1}'])
def test_another_file_is_refused(text, tmp_path, capsys):
    file = tmp_path / "other.json"
    file.write_text(text, encoding="utf-8")
    status, _, err = run(capsys, "report", file)
    assert status == 1
    assert "no result file" in err


def test_the_step_table_has_roof_and_best_peer():
    text = report(step_results())
    assert "adam, float32, 1 thread: one step on one thread" not in text.split("denormal numbers")[0]
    line = next(line for line in text.splitlines() if line.split()[:2] == ["1,000", "fastopt-numba"])
    assert line.split()[2:] == ["2,000", "2,000–2,000", "0.0", "50%", "2.50", "×", "as", "long", "(torch-fused)"]
    assert "wrong: optax on 2 cases of adam: why" in text
    assert "failed: optax on step of adam float32, 7 parameters: why" in text
    assert "missing: deepspeed: No module named 'deepspeed'" in text
    assert "denormal states: fastopt-numba, adam float32, 1,000 parameters, takes 1.25 times as long" in text
    assert "is 1.75 times as fast on 2 threads as on one" in text
    assert "a call of fastopt-numba, adam float32: 500.0 µs" in text


def test_a_reason_is_one_sentence_and_no_line_of_a_table():
    results = new_results("step", ["bench", "step"], 2)
    results.rows = [step_row("fastopt-numba", 2.0), step_row("fastopt-c", 0.0, status="failed")]
    results.rows += [step_row("fastopt-c", 0.0, 10_000, "failed", kind=kind) for kind in ("step", "clip")]
    text = report(results)
    assert text.count("fastopt-c") == 1
    assert "\nfailed: fastopt-c on 3 cases of adam: why" in text


def test_columns_without_content_are_left_out():
    results = new_results("step", ["bench", "step"], 2)
    results.rows = [step_row("fastopt-numba", 2.0)]
    assert ["size", "contender", "µs", "p10–p90", "GB/s"] in [line.split() for line in report(results).splitlines()]


def test_a_file_from_before_steps_were_timed_together_has_no_ratio():
    results = new_results("step", ["bench", "step"], 2)
    results.rows = [step_row("fastopt-numba", 2.0), step_row("fastopt-numba", 3.0, kind="denormal")]
    text = report(results)
    assert "denormal numbers" in text
    assert "times as long" not in text


def test_a_wrong_peer_is_not_compared_with():
    assert best_peer([step_row("optax", 1.0, status="wrong"), step_row("numpy", 3.0)]).contender == "numpy"


def test_the_train_table_has_samples_a_second():
    text = report(train_results())
    assert "784-128-10, Adam, float32" in text
    line = next(line for line in text.splitlines() if line.split()[:2] == ["1", "fastopt-c"])
    assert line.split()[2:] == ["10,240", "10,240–10,240", "100.0/200.0", "50", "2.00", "(torch)"]


@pytest.mark.parametrize("make", [step_results, train_results])
def test_pictures_are_drawn_from_files(make, tmp_path, capsys):
    make().save(tmp_path / "results.json")
    status, out, _ = run(capsys, "report", tmp_path / "results.json", "--plot")
    assert status == 0
    assert "drawn in" in out
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(new_results("step", [], 1), tmp_path / "none.png")


def test_folders_stay_out_of_files():
    assert without_folders(["/a/b.py:mine", "x", "1e3"]) == ["b.py:mine", "x", "1e3"]


# --- the command


def test_other_commands_do_not_import_it():
    script = "import sys, fastopt.cli; fastopt.cli.main(['rules']); sys.exit('fastopt.bench' in sys.modules)"
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": path}, check=True, capture_output=True)


def test_a_quick_benchmark_of_one_rule(tmp_path, capsys):
    file, picture = tmp_path / "sgd.json", tmp_path / "sgd.png"
    arguments = ("--quick", "--sizes", "1e3", "--rule", "sgd", "--peers", "none", "--threads", 1)
    status, out, _ = run(capsys, "step", *arguments, "--out", file, "--plot", picture)
    assert status == 0
    assert "sgd, float32, 1 thread: one step" in out
    results = Results.load(file)
    assert {row.status for row in results.rows} == {"ok"}
    assert results.command.startswith("fastopt bench step --rule sgd --dtype float32 --sizes 1000")
    assert results.machine["threads"] == 1
    assert picture.exists()
    assert str(tmp_path) not in file.read_text(encoding="utf-8")


def test_a_quick_benchmark_of_what_is_timed_together(tmp_path, capsys):
    file = tmp_path / "together.json"
    arguments = ("--quick", "--sizes", "1e4", "--rule", "adam", "--kinds", "denormal", "threads", "--peers", "numpy")
    status, out, _ = run(capsys, "step", *arguments, "--backend", BACKEND, "--out", file)
    assert status == 0
    rows = Results.load(file).rows
    for row in rows:
        assert (row.status, len(row.seconds["rounds"])) == ("ok", len(row.figures["ordinary"]["rounds"]))
    assert out.count("denormal states: ") == 2
    assert out.count("\nthreads: ") == len(rows) - 2


@needs("numba")
def test_a_users_rule_by_file_name(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(USER_RULE, encoding="utf-8")
    arguments = ("--quick", "--sizes", "1000", "--peers", "none", "--kinds", "step", "--threads", 1)
    status, out, _ = run(
        capsys,
        "step",
        *arguments,
        "--rule",
        f"{tmp_path / 'mine.py'}:drag",
        "--backend",
        "numba",
        "--out",
        tmp_path / "r",
    )
    assert status == 0
    rows = Results.load(tmp_path / "r").rows
    assert [(row.contender, row.status, row.case["rule"]) for row in rows] == [
        ("roof", "ok", "mine.py:drag"),
        ("fastopt-numba", "ok", "mine.py:drag"),
    ]
    assert rows[1].figures["bytes"] == 4 * get_rule("momentum").words_per_parameter() * 1000
    assert str(tmp_path) not in out


def test_a_contender_of_a_user_s_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_adam.py").write_text("from fastopt.bench.contenders.numpy import Stepper\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    register(Contender("mine", "my_adam", needs=("numpy",), rules=("adam",)))
    arguments = ("--quick", "--sizes", "1000", "--kinds", "step", "--threads", 1, "--backend", BACKEND)
    try:
        status, _, _ = run(capsys, "step", *arguments, "--rule", "adam", "--peers", "mine", "--out", tmp_path / "r")
    finally:
        del CONTENDERS["mine"]
    assert status == 0
    found = {row.contender: (row.role, row.status) for row in Results.load(tmp_path / "r").rows}
    assert found["mine"] == ("peer", "ok")


def test_a_quick_training(tmp_path, capsys):
    file = tmp_path / "train.json"
    arguments = ("--quick", "--sizes", "784-16-10", "--batches", 32, "--peers", "none", "--threads", 1)
    status, out, _ = run(capsys, "train", *arguments, "--out", file)
    assert status == 0
    assert "784-16-10, Adam, float32" in out
    for row in Results.load(file).rows:
        assert row.status == "ok"
        assert row.figures["step_p50"] <= row.figures["step_p99"]
        assert row.figures["peak_bytes"] > 1e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rule", "adamm"), "unknown rule 'adamm': did you mean"),
        (("--backend", "numbat"), "unknown backend 'numbat': did you mean"),
        (("--dtype", "float16"), "unknown dtype 'float16'"),
        (("--kinds", "stepp"), "unknown kind 'stepp'"),
        (("--peers", "torchh"), "unknown peer 'torchh'"),
        (("--threads", "100000"), "expected at most"),
    ],
)
def test_what_is_not_there_is_refused(arguments, message, capsys):
    status, _, err = run(capsys, "step", *arguments)
    assert status == 1
    assert message in err


def test_a_wrong_result_is_exit_status_1(monkeypatch, capsys):
    monkeypatch.setattr(suites, "run_steps", lambda results, *rest: step_results())
    status, out, err = run(capsys, "step", "--peers", "none", "--rule", "sgd")
    assert status == 1
    assert "wrong results: optax" in err
    assert "wrong: optax" in out
