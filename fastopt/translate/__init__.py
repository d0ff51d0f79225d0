"""C from Python: scalar functions, and the passes of rules, as source text.

It needs neither NumPy nor a compiler, since it runs when the package is built.
"""

from .elements import elements_source, elements_table
from .functions import Functions, NotTranslatable
from .passes import built_in_sweeps, constants_source, passes_source, table_source

__all__ = [
    "Functions",
    "NotTranslatable",
    "built_in_sweeps",
    "constants_source",
    "elements_source",
    "elements_table",
    "passes_source",
    "table_source",
]
