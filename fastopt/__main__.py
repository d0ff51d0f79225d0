"""``python -m fastopt`` is ``fastopt``."""

import sys

from .cli import main

sys.exit(main())
