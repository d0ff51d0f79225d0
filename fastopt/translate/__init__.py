"""C from Python: scalar functions, and the passes and the numbers of rules, as source text.

It needs neither NumPy nor a compiler, since it runs when the package is built.
"""

from .elements import elements_source, elements_table
from .functions import Functions, TranslationError
from .numbers import built_in_schedules, numbers_source
from .passes import built_in_sweeps, constants_source, is_built_in, listing_source, passes_source, table_source
from .single_file import expanded
from .user import COMPILE_ARGS, TEMPLATES, user_element_source, user_numbers_source, user_rule_source

__all__ = [
    "COMPILE_ARGS",
    "TEMPLATES",
    "Functions",
    "TranslationError",
    "built_in_schedules",
    "built_in_sweeps",
    "constants_source",
    "elements_source",
    "elements_table",
    "expanded",
    "is_built_in",
    "listing_source",
    "numbers_source",
    "passes_source",
    "table_source",
    "user_element_source",
    "user_numbers_source",
    "user_rule_source",
]
