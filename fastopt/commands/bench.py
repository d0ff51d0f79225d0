"""``fastopt bench``: what a step, a training and a start cost on this machine, and how near a step is to the roof."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]

_STEP = """\
Measure optimizer steps: microseconds (median and 10th to 90th percentile), bytes a second, the share of this machine's
roof, and how many times as long the fastest peer takes.

The roof is a rule with as many states that adds one number to each stream: the same bytes, threads and size. Contenders
run in processes of their own and take turns. Every result is compared with float64; the exit status is 1 if one is
wrong.

With --backend cuda: steps on the GPU, timed by its own clock, and the copies of its memory; the cost of a launch; and
steps in a captured graph.

The peer is NumPy. In a checkout, 'python -m bench' has PyTorch, JAX and others; fastopt.bench.register adds yours."""

_TRAIN = """\
Measure training with Adam on synthetic images: samples a second, times of single steps, peak memory. All contenders
start from the same weights and see the same rows in the same order; the exit status is 1 if a loss disagrees.

In a checkout, 'python -m bench' has peers: PyTorch, JAX, Keras, scikit-learn, on the processor, or with --backend cuda
on the GPU."""

_START = """\
Measure the time of the import, of the first optimizer with its first step, and of the first network with its first
batch, each with kernels compiled before (warm) and without (cold); and by how much training raises the peak of memory,
with the bound that it should keep. Each figure is the median of several new processes."""

_QUICK = "few and short rounds, to see whether it works: the figures mean little"


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "bench",
        help="measure speed on this machine",
        description="Measure optimizer steps, training, or the start of a process, or show results again.",
    )
    suites = parser.add_subparsers(title="benchmarks", dest="suite", required=True, metavar="BENCHMARK")
    _add_step(suites)
    _add_train(suites)
    _add_start(suites)
    _add_report(suites)


def run(arguments: argparse.Namespace) -> int:
    """Run it."""
    given: int = arguments.bench(arguments)
    return given


def _add_step(suites: Any) -> None:
    parser = _suite(suites, "step", "optimizer steps by rule, backend, dtype and size", _STEP, _step)
    parser.add_argument(
        "--rule",
        nargs="+",
        default=["sgd", "momentum", "adam"],
        metavar="NAME",
        help="rules, FILE.py:NAME for your own, or 'all'; default sgd momentum adam",
    )
    parser.add_argument("--dtype", nargs="+", default=["float32"], metavar="NAME", help="default float32; or float64")
    parser.add_argument(
        "--states",
        choices=("bfloat16",),
        help="dtype of the states, if not that of the parameters; no peer takes part then",
    )
    parser.add_argument(
        "--sizes", nargs="+", type=_size, metavar="N", help="parameters, as 1000 or 1e3; default 1e2 to 1e7 (GPU: 1e9)"
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        metavar="KIND",
        help="step, clip, denormal, threads, overhead (GPU: memory, step, graph, launch, overhead); default all",
    )
    parser.add_argument(
        "--budget", type=float, metavar="S", help="on a GPU, begin no case when so many seconds have passed"
    )
    _add_peers(parser)
    _add_common(parser, also="; or only cuda")


def _add_train(suites: Any) -> None:
    parser = _suite(suites, "train", "training of perceptrons by size and batch", _TRAIN, _train)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=_layers,
        metavar="N-N-N",
        help="default 784-128-10 784-1024-10 784-1024-1024-10",
    )
    parser.add_argument("--batches", nargs="+", type=_size, metavar="N", help="rows a step; default 1 8 32 128 1024")
    parser.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="to measure each contender on a case; default 2"
    )
    _add_peers(parser)
    _add_common(parser, also="; or cuda")


def _add_start(suites: Any) -> None:
    parser = _suite(suites, "start", "the first step, the first training, and its memory", _START, _start)
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="import, step, fit, memory; default all of them")
    parser.add_argument("--repeats", type=_size, metavar="N", help="processes for each figure; default 5")
    _add_common(parser)
    parser.set_defaults(plot=None)


def _add_peers(parser: Any) -> None:
    parser.add_argument("--peers", nargs="+", default=["all"], metavar="NAME", help="all, none, or names; default all")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the results")


def _add_common(parser: Any, also: str = "") -> None:
    parser.add_argument("--backend", nargs="+", metavar="NAME", help=f"numba, c, reference; default numba c{also}")
    parser.add_argument("--threads", type=_size, metavar="N", help="of every contender; default: all processors")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the results, to report or compare later")
    parser.add_argument("--quick", action="store_true", help=_QUICK)


def _add_report(suites: Any) -> None:
    text = "Print the tables of result files, and draw their pictures."
    parser = _suite(suites, "report", "tables and pictures from result files", text, _report)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--plot", action="store_true", help="draw FILE.png next to each file")


def _suite(suites: Any, name: str, summary: str, text: str, function: Any) -> Any:
    parser = suites.add_parser(
        name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run, bench=function)
    return parser


def _step(arguments: argparse.Namespace) -> int:
    if "cuda" in _backends(arguments):
        return _gpu(arguments)
    from ..bench import cases, contenders, suites
    from ..bench.rounds import Effort

    if arguments.budget is not None:
        raise ValueError(f"--budget: got {arguments.budget:g}, expected none without --backend cuda")
    threads = _threads(arguments.threads)
    sizes = arguments.sizes or ((1_000, 100_000, 1_000_000) if arguments.quick else cases.SIZES)
    plan = cases.plan_steps(
        _rules(arguments.rule),
        _known("dtype", arguments.dtype, ("float32", "float64")),
        sizes,
        threads,
        _kinds(arguments, cases.KINDS),
        arguments.states,
    )
    peers = contenders.choose_peers(_peers(arguments), contenders.peers(["cpu"]))
    names = [*contenders.own_contenders(_backends(arguments)), *peers]
    effort = Effort(seconds=0.1, rounds=3, most_rounds=3) if arguments.quick else Effort()
    return _finish(suites.run_steps(_new(arguments, threads), plan, names, effort), arguments)


def _peers(arguments: argparse.Namespace) -> list[str]:
    """Return the peers that are asked for: none of them has states of another dtype than the parameters'."""
    if arguments.states is None:
        return list(arguments.peers)
    import numpy as np

    from ..backends import storage_of

    for dtype in arguments.dtype:
        storage_of(np.dtype(dtype), arguments.states, "nearest")
    if arguments.peers not in (["all"], ["none"]):
        raise ValueError(
            f"--peers: got {' '.join(arguments.peers)} with --states, expected none: no peer has such states"
        )
    return ["none"]


def _gpu(arguments: argparse.Namespace) -> int:
    from ..bench import cases, contenders, suites
    from ..bench.gpu.plan import SIZES, plan_gpu
    from ..bench.rounds import Effort

    if arguments.states is not None:
        raise ValueError(f"--states: got {arguments.states}, expected none with --backend cuda")
    if arguments.backend != ["cuda"]:
        raise ValueError(
            f"--backend: got {' '.join(arguments.backend)}, expected only cuda; measure the CPU in another run"
        )
    sizes = arguments.sizes or ((10_000, 1_000_000) if arguments.quick else SIZES)
    plan = plan_gpu(
        _rules(arguments.rule),
        _known("dtype", arguments.dtype, ("float32", "float64")),
        sizes,
        _kinds(arguments, cases.GPU_KINDS),
    )
    peers = contenders.choose_peers(arguments.peers, contenders.peers(["cuda"]))
    _check_gpu()
    effort = Effort(seconds=0.02, rounds=2, most_rounds=2) if arguments.quick else Effort(0.25, rounds=5, most_rounds=7)
    budget = math.inf if arguments.budget is None else arguments.budget
    results = _new(arguments, _threads(arguments.threads), "gpu")
    return _finish(suites.run_gpu(results, plan, peers, effort, budget), arguments)


def _train(arguments: argparse.Namespace) -> int:
    from ..bench import cases, contenders, suites
    from ..bench.rounds import Effort

    threads = _threads(arguments.threads)
    sizes = arguments.sizes or (cases.TRAIN_SIZES[:1] if arguments.quick else cases.TRAIN_SIZES)
    batches = arguments.batches or ((32, 128) if arguments.quick else cases.BATCHES)
    plan = cases.plan_training(sizes, batches, threads, quick=arguments.quick)
    own = contenders.own_contenders(_backends(arguments))
    devices = [contenders.CONTENDERS[name].device for name in own]
    names = [*own, *contenders.choose_peers(arguments.peers, contenders.peers(devices, trains=True))]
    if "cuda" in _backends(arguments):
        _check_gpu()
    effort = Effort(0.0, 2, 2) if arguments.quick else Effort(arguments.seconds, rounds=5)
    return _finish(suites.run_trainings(_new(arguments, threads), plan, names, effort), arguments)


def _start(arguments: argparse.Namespace) -> int:
    from ..backends import BACKENDS
    from ..bench import starts, suites

    threads = _threads(arguments.threads)
    backends = _known("backend", _backends(arguments), BACKENDS)
    plan = starts.plan_starts(_kinds(arguments, starts.KINDS), backends, threads)
    repeats = arguments.repeats or (1 if arguments.quick else 5)
    return _finish(suites.run_starts(_new(arguments, threads), plan, repeats), arguments)


def _report(arguments: argparse.Namespace) -> int:
    from ..bench.pictures import draw
    from ..bench.report import report
    from ..bench.results import Results

    for file in arguments.files:
        results = Results.load(file)
        print(report(results))
        if arguments.plot:
            picture = file.with_suffix(".png")
            draw(results, picture)
            print(f"drawn in {picture}")
    return 0


def _new(arguments: argparse.Namespace, threads: int, suite: str | None = None) -> Any:
    from ..bench.results import new_results

    return new_results(suite or arguments.suite, _words(arguments), threads)


def _words(arguments: argparse.Namespace) -> list[str]:
    """Return the command line with these arguments, defaults included."""
    words = ["bench", arguments.suite]
    for name, value in vars(arguments).items():
        if name in ("command", "suite", "run", "bench") or value is None or value is False:
            continue
        values = [] if value is True else value if isinstance(value, (list, tuple)) else [value]
        words += [f"--{name}", *("-".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values)]
    return words


def _finish(results: Any, arguments: argparse.Namespace) -> int:
    from ..bench.pictures import draw
    from ..bench.report import report

    if arguments.out is not None:
        results.save(arguments.out)
    print(report(results))
    if arguments.plot is not None:
        draw(results, arguments.plot)
    wrong = sorted({row.contender for row in results.rows if row.status == "wrong"})
    if wrong:
        print(f"wrong results: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def _rules(given: Sequence[str]) -> list[str]:
    from ..rules import RULES
    from ..runs.settings import find_rule

    names = [name for asked in given for name in (RULES if asked == "all" else [asked])]
    for name in names:
        find_rule(name)
    return names


def _kinds(arguments: argparse.Namespace, known: Iterable[str]) -> list[str]:
    return _known("kind", arguments.kinds or list(known), known)


def _backends(arguments: argparse.Namespace) -> list[str]:
    given: list[str] = arguments.backend or ["numba", "c"]
    return given


def _check_gpu() -> None:
    """Raise ImportError where there is no GPU, before anything is measured."""
    from ..backends import why_missing

    reason = why_missing("cuda")
    if reason is not None:
        raise ImportError(reason)


def _known(kind: str, given: Sequence[str], known: Any) -> list[str]:
    from .._errors import unknown_name

    for name in given:
        if name not in known:
            raise unknown_name(kind, name, known)
    return list(given)


def _threads(given: int | None) -> int:
    from ..backends import available_cores

    cores = available_cores()
    if given is not None and given > cores:
        raise ValueError(f"--threads: got {given}, expected at most {cores}, the processors of this process")
    return given or cores


def _size(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if number < 1 or number != int(number):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 1, such as 1000 or 1e3")
    return int(number)


def _layers(text: str) -> tuple[int, ...]:
    sizes = tuple(map(_size, text.split("-")))
    if len(sizes) < 3:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected inputs, hidden units, outputs, such as 784-128-10")
    return sizes
