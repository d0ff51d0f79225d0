"""The command line: ``fastopt train``, ``predict``, ``rules`` and ``info``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .commands import info, predict, rules, train

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
    for command in (train, predict, rules, info):
        command.add_parser(commands)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nothing is left to say it to
        return 1
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"fastopt {parsed.command}: error: {error}", file=sys.stderr)
        return 1
