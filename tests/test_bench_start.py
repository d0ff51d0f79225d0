"""The benchmark of starts: its plan, its processes, its table, and the command; nothing here is about speed."""

import subprocess

import pytest
from conftest import needs

from fastopt.bench import fresh, machine, starts, suites
from fastopt.bench.report import report
from fastopt.bench.results import Results, new_results
from fastopt.bench.rows import Row
from fastopt.bench.starts import KINDS, StartCase, measure_start, plan_starts
from fastopt.bench.timing import summarise
from fastopt.cli import main

BACKEND = "reference"
NETWORK = (784, 128, 10)


def run(capsys, *arguments):
    """Return the exit status, what was printed, and what was complained about."""
    status = main(["bench", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# --- cases


def test_the_plan_has_every_kind():
    plan = plan_starts(KINDS, ["numba", "c"], 2)
    assert {case.kind for case in plan} == set(KINDS) == set(fresh.KINDS)
    assert [case.contender for case in plan if case.kind == "import"] == ["fastopt"]
    for kind in ("step", "fit"):
        found = {(case.backend, case.cache) for case in plan if case.kind == kind}
        assert found == {("numba", "warm"), ("numba", "cold"), ("c", "warm"), ("c", "cold")}
    networks = {(case.sizes, case.batch) for case in plan if case.kind == "memory"}
    assert networks == {(sizes, batch) for sizes in (NETWORK, (784, 1024, 10)) for batch in (32, 1024)}


def test_the_bound_is_two_batches_and_a_tile():
    assert StartCase("memory", "c", sizes=NETWORK, batch=32).memory_bound == 2 * 32 * 138 * 4 + 131_072 * 4


# --- new processes


@pytest.mark.parametrize(("cache", "own_folders"), [("warm", 0), ("cold", 3)])
def test_each_figure_is_of_several_processes_after_one_that_does_not_count(cache, own_folders, monkeypatch):
    environments = []

    def answer(command, *, env, **options):
        environments.append(env)
        return subprocess.CompletedProcess(command, 0, f"{9 if len(environments) == 1 else len(environments)}\n", "")

    monkeypatch.setenv("NUMBA_CACHE_DIR", "mine")
    monkeypatch.setattr(starts.subprocess, "run", answer)
    row = measure_start(StartCase("step", "numba", cache), repeats=3)
    assert row.seconds["rounds"] == [2.0, 3.0, 4.0]
    folders = [env["NUMBA_CACHE_DIR"] for env in environments]
    assert len(set(folders) - {"mine"}) == own_folders
    assert folders[0] == "mine"


@needs("numba")
def test_in_a_folder_of_its_own_everything_is_compiled(tmp_path):
    starts._ask(StartCase("step", "numba"), NUMBA_CACHE_DIR=str(tmp_path))
    assert any(file.name.startswith("adam") for file in tmp_path.rglob("*.nbc"))


@pytest.mark.skipif(not machine.reset_peak_memory(), reason="this system cannot reset the peak memory of a process")
def test_memory_grows_by_about_what_the_layers_give(compiled):
    row = measure_start(StartCase("memory", compiled, sizes=(8, 256, 10), batch=1024, threads=2), repeats=1)
    layers = 2 * 1024 * 266 * 4
    assert layers / 2 < row.figures["bytes"]["median"] < 3 * layers


def test_a_process_that_fails_is_a_row_with_its_reason():
    row = measure_start(StartCase("step", "no_such"), repeats=1)
    assert (row.status, row.contender) == ("failed", "fastopt-no_such")
    assert row.note.startswith("ValueError: unknown backend 'no_such'")


def test_a_process_that_does_not_answer_is_a_row_with_its_reason(monkeypatch):
    monkeypatch.setattr(starts, "TIMEOUT", 0.01)
    assert measure_start(StartCase("import"), repeats=1).note == "no answer within 0 seconds"


def test_memory_is_not_guessed(monkeypatch):
    monkeypatch.setattr(machine, "reset_peak_memory", lambda: False)
    with pytest.raises(OSError, match="cannot reset its peak memory"):
        fresh.training_memory(backend=BACKEND, threads=1, sizes=NETWORK, batch=1)


# --- table


def start_results():
    results = new_results("start", ["bench", "start"], 2)
    summary = summarise([[9.0], [0.25], [0.5], [0.75]]).as_dict()
    memory = {"bytes": summarise([[0], [2_000_000], [3_000_000]]).as_dict(), "bound_bytes": 1_500_000}
    for case in plan_starts(KINDS, ["c"], 2):
        of = ({}, memory) if case.kind == "memory" else (summary, {})
        results.rows.append(Row(case.as_dict(), case.contender, "own", "ok", "", *of))
    results.rows[-1] = Row(results.rows[-1].case, "fastopt-c", "own", "failed", "no peak here")
    return results


def lines_of(table):
    return [line.split() for line in table.splitlines()[2:]]


def test_the_table_has_times_and_memory_with_its_bound(tmp_path):
    start_results().save(tmp_path / "start.json")
    heading, imports, steps, fits, small, large, remarks = report(Results.load(tmp_path / "start.json")).split("\n\n")
    assert heading.startswith("fastopt bench start")
    assert lines_of(imports) == [["warm", "fastopt", "500.0", "300.0–700.0"]]
    assert [line[:3] for line in lines_of(steps)] == [[cache, "fastopt-c", "500.0"] for cache in ("warm", "cold")]
    assert fits.splitlines()[0].endswith("one batch of 32, 784-128-10")
    assert lines_of(small)[0] == ["32", "fastopt-c", "2.50", "2.10–2.90", "1.50"]
    assert [line[0] for line in lines_of(large)] == ["32"]
    assert remarks == "failed: fastopt-c on memory with warm cache, 784-1024-10, batch 1024: no peak here"


def test_there_is_nothing_to_draw(tmp_path, capsys):
    start_results().save(tmp_path / "start.json")
    status, _, err = run(capsys, "report", tmp_path / "start.json", "--plot")
    assert status == 1
    assert "nothing to draw" in err


# --- the command


def test_a_quick_start(tmp_path, capsys):
    file = tmp_path / "start.json"
    arguments = ("--backend", BACKEND, "--kinds", "import", "step", "fit", "--threads", 1)
    status, out, _ = run(capsys, "start", "--quick", *arguments, "--out", file)
    results = Results.load(file)
    assert status == 0
    assert out.rstrip() == report(results)
    assert results.command.startswith("fastopt bench start --kinds import step fit --backend reference --threads 1")
    assert [row.case["kind"] for row in results.rows] == ["import", "step", "step", "fit", "fit"]
    for row in results.rows:
        assert row.status == "ok"
        assert len(row.seconds["rounds"]) == 1


def test_a_missing_backend_is_said(monkeypatch, capsys):
    monkeypatch.setattr(suites, "why_missing", lambda backend: f"no {backend} here")
    status, out, _ = run(capsys, "start", "--quick", "--kinds", "step")
    assert status == 0
    assert "missing: fastopt-c: no c here" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "numbat"), "unknown backend 'numbat': did you mean"),
        (("--kinds", "import", "stepp"), "unknown kind 'stepp': did you mean"),
        (("--threads", "100000"), "expected at most"),
    ],
)
def test_what_is_not_there_is_refused(arguments, message, capsys):
    status, _, err = run(capsys, "start", *arguments)
    assert status == 1
    assert message in err
