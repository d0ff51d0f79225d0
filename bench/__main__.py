"""``python -m bench step --peers torch optax`` is ``fastopt bench step`` with the peers of this folder."""

import sys

from fastopt.bench import register
from fastopt.cli import main

from .peers import PEERS

for peer in PEERS:
    register(peer)
sys.exit(main(["bench", *sys.argv[1:]]))
