"""The parent's end of the workers: one process a contender, of which one works at a time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any

from .contenders import CONTENDERS, Contender

__all__ = ["TIMEOUT", "Failure", "Worker", "Workers", "first_line"]

TIMEOUT = 900.0
"""Seconds after which a process that does not answer has failed."""

_LONGEST = 400
"""Characters of a reason."""

_SETTLE = 0.01
"""Seconds between two workers: thread pools spin for a while when their work is done."""


class Failure(Exception):  # noqa: N818 - it is a result, not an error of ours
    """A contender could not do its part; the message is the reason."""


class Worker:
    """One contender's process, started when it is first asked something."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self._contender = contender
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Return the answer to a request.

        Raises
        ------
        Failure
            It failed, ended or did not answer in time.
        """
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        try:
            _signal(process, "SIGCONT")
            process.stdin.write(json.dumps({"do": do, **values}) + "\n")
            process.stdin.flush()
            answer = self._read(process)
            _signal(process, "SIGSTOP")
        except OSError:
            raise self._ended(process) from None
        if "failed" in answer:
            raise Failure(first_line(answer["failed"]))
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        self._errors.close()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fastopt.bench.worker", json.dumps(asdict(self._contender))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_environment(self._threads), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def _read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], TIMEOUT)
        if not ready:
            process.kill()
            process.communicate()
            self._process = None
            raise Failure(f"no answer within {TIMEOUT:.0f} seconds")
        line = process.stdout.readline()
        if not line:
            raise self._ended(process)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self, process: subprocess.Popen[str]) -> Failure:
        process.communicate()
        self._process = None
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        status = process.returncode
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return Failure(f"its process ended with {how}" + (f": {first_line(lines[-1])}" if lines else ""))


class Workers:
    """The workers of a benchmark; a context manager that ends them.

    Attributes
    ----------
    threads
        Threads of each.
    missing
        Contender to the reason why it cannot run here.
    """

    def __init__(self, names: Iterable[str], threads: int) -> None:
        self.threads = threads
        self._workers = {name: Worker(CONTENDERS[name], threads) for name in names}
        self.missing: dict[str, str] = {}

    @property
    def present(self) -> list[str]:
        """The contenders that can run."""
        return [name for name in self._workers if name not in self.missing]

    def connect(self, name: str) -> None:
        """Start the worker, and find out whether its library is there."""
        try:
            answer = self._workers[name].ask("hello")
        except Failure as error:
            answer = {"missing": str(error)}
        if "missing" in answer:
            self.missing[name] = first_line(answer["missing"])

    def facts(self, name: str) -> dict[str, Any]:
        """Return the facts about the GPU that a worker uses. Raises :class:`Failure`."""
        return self._workers[name].ask("facts")

    def ask(self, name: str, do: str, case: Mapping[str, Any], **values: Any) -> dict[str, Any]:
        """Return a worker's answer, while all others are halted. Raises :class:`Failure`."""
        time.sleep(_SETTLE)
        return self._workers[name].ask(do, case=case, **values)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            with contextlib.suppress(OSError):
                worker.close()


def _signal(process: subprocess.Popen[str], name: str) -> None:
    """Halt a worker after its turn: threads of a pool that wait by spinning would slow the next one down."""
    if hasattr(signal, name) and process.poll() is None:
        process.send_signal(getattr(signal, name))


def first_line(reason: str) -> str:
    """Return the first line without the folders in it: it goes into tables and result files."""
    lines = re.sub(r"(?<![\w:])(/[^\s/'\"]+)+/", "", reason).strip().splitlines()
    return lines[0][:_LONGEST] if lines else "no reason given"


def _environment(threads: int) -> dict[str, str]:
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return {
        **{f"{name}_NUM_THREADS": str(threads) for name in names},
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NPROC": str(threads),  # XLA's thread pool
    }
