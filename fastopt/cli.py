"""The command line: ``fastopt train``, ``predict``, ``rules``, ``info`` and ``bench``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper

from . import __version__
from ._errors import one_line
from ._output import discard, open_standard_streams, warn
from .commands import bench, info, predict, rules, train
from .commands.parser import CommandParser

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        The words of the command line; those of this process by default.

    Returns
    -------
    int
        The exit status: 0, or 1 for an error that the user can correct, or 130 for Ctrl-C.

    Raises
    ------
    SystemExit
        With status 0 for ``--help`` and ``--version``, with 2 for arguments that cannot be read, with 1 for a rule that
        cannot be loaded: its hyper-parameters are options.
    """
    open_standard_streams()
    _escape_what_cannot_be_encoded()
    words = _with_suite(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in words if not word.startswith("-")), "")
    try:
        parsed = _make_parser().parse_args(words)
        status = int(parsed.run(parsed))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, so that a closed pipe is noticed in this function rather than at exit
        return status
    except KeyboardInterrupt:
        warn("interrupted")
        return 130
    except BrokenPipeError:
        discard(sys.stdout)  # nothing reads our output any more
        return 1
    except (OSError, ValueError, TypeError, ImportError) as error:
        warn(one_line(f"fastopt {command}: error: {error}"))
        return 1


def _make_parser() -> CommandParser:
    parser = CommandParser(
        prog="fastopt",
        description="Train multi-layer perceptrons with optimizer rules compiled to fused kernels.",
        epilog="'fastopt COMMAND --help' explains a command. Start with: fastopt train",
    )
    parser.add_argument("--version", action="version", version=f"fastopt {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for command in (train, predict, rules, info, bench):
        command.add_parser(commands)
    return parser


def _escape_what_cannot_be_encoded() -> None:
    """Have a terminal or file whose encoding lacks a character, a Greek letter say, receive its escape sequence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _with_suite(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with ``bench`` meaning ``bench step`` when an option follows it directly."""
    command, *rest = [*arguments] or [""]
    if command == "bench" and rest and rest[0].startswith("-") and rest[0] not in ("-h", "--help"):
        return [command, "step", *rest]
    return [*arguments]
