"""C from Python: scalar functions, and the passes and the numbers of rules, as source text.

It needs neither NumPy nor a compiler, since it runs when the package is built.
"""

from .functions import Functions, NotTranslatable
from .numbers import built_in_schedules, numbers_source
from .passes import built_in_sweeps, constants_source, passes_source, table_source

__all__ = [
    "Functions",
    "NotTranslatable",
    "built_in_schedules",
    "built_in_sweeps",
    "constants_source",
    "numbers_source",
    "passes_source",
    "table_source",
]
