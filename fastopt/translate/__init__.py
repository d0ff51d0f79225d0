"""C from Python: scalar functions, and the passes of rules, as source text.

It needs neither NumPy nor a compiler, since it runs when the package is built.
"""

from .functions import Functions, TranslationError
from .passes import built_in_sweeps, constants_source, passes_source, table_source

__all__ = ["Functions", "TranslationError", "built_in_sweeps", "constants_source", "passes_source", "table_source"]
