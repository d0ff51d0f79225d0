"""The command line: ``fastopt train``, ``predict``, ``rules``, ``info`` and ``bench``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__
from .commands import bench, info, predict, rules, train

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 for an error that is the user's to mend, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="fastopt",
        description="Train multi-layer perceptrons on a CPU with optimizer rules compiled to fused kernels.",
        epilog="'fastopt COMMAND --help' explains a command. Start with: fastopt train",
    )
    parser.add_argument("--version", action="version", version=f"fastopt {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for command in (train, predict, rules, info, bench):
        command.add_parser(commands)
    parsed = parser.parse_args(_with_suite(sys.argv[1:] if arguments is None else arguments))
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()  # here: a reader that has gone would otherwise be met at exit, outside this function
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone
        return 1
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"fastopt {parsed.command}: error: {error}", file=sys.stderr)
        return 1


def _with_suite(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``bench`` meaning ``bench step`` where an option follows at once."""
    command, *rest = [*arguments] or [""]
    if command == "bench" and rest and rest[0].startswith("-") and rest[0] not in ("-h", "--help"):
        return [command, "step", *rest]
    return [*arguments]
