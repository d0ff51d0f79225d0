"""Scalar functions, made ready for a backend: other functions in the place of those that they call.

Code, global names and enclosed variables stay what they are. A function that a scalar function calls, and that is no
word of the vocabulary, is a scalar function itself and treated in the same way.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Callable, Iterator, Mapping
from types import CellType, FunctionType, ModuleType
from typing import Any

from ..rules import vocabulary

__all__ = ["define_at", "identity_of", "positional", "substituted", "with_constants"]

Function = Callable[..., Any]
Words = Mapping[Any, Any]

WORDS = (vocabulary.clip, vocabulary.fma, vocabulary.sign, vocabulary.where)


def substituted(function: Function, words: Words, prepare: Callable[[FunctionType], Any] | None = None) -> FunctionType:
    """Return the function with `words` in the place of what it calls.

    Parameters
    ----------
    function
        A scalar function.
    words
        Function or module to what takes its place.
    prepare
        What becomes of the other scalar functions that it calls, after the same was done to them.
    """

    def swapped(value: Any) -> Any:
        if _is_hashable(value) and value in words:
            return words[value]
        if isinstance(value, ModuleType):
            return _Module(value, swapped) if _differs(value, words) else value
        if isinstance(value, FunctionType) and value not in WORDS:
            inner = substituted(value, words, prepare)
            return prepare(inner) if prepare else inner
        return value

    used = set(_names(function.__code__))
    names = {name: swapped(value) if name in used else value for name, value in function.__globals__.items()}
    enclosed = tuple(CellType(swapped(cell.cell_contents)) for cell in function.__closure__ or ())
    result = FunctionType(function.__code__, names, function.__name__, function.__defaults__, enclosed)
    result.__kwdefaults__ = function.__kwdefaults__
    return result


def with_constants(function: FunctionType, dtype: Callable[[float], Any]) -> FunctionType:
    """Return the function with its number literals, and the numbers that it finds by name, in a dtype.

    A literal of Python would make a float32 computation a float64 one.
    """

    def converted(value: Any) -> Any:
        return dtype(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    code = function.__code__
    code = code.replace(co_consts=tuple(converted(constant) for constant in code.co_consts))
    used = set(_names(code))
    names = {name: converted(value) if name in used else value for name, value in function.__globals__.items()}
    enclosed = tuple(CellType(converted(cell.cell_contents)) for cell in function.__closure__ or ())
    result = FunctionType(code, names, function.__name__, function.__defaults__, enclosed)
    result.__kwdefaults__ = function.__kwdefaults__
    return result


def positional(function: Function) -> FunctionType:
    """Return the function with its keyword-only parameters positional: compilers for Python take no others.

    Their values follow the positional ones in the same order, so that counting them as positional is all it takes.
    """
    code = function.__code__
    code = code.replace(co_argcount=code.co_argcount + code.co_kwonlyargcount, co_kwonlyargcount=0)
    return FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)


def identity_of(function: Function) -> tuple[object, ...]:
    """Return what makes a function another one: its instructions, its variables, and the functions that it calls."""
    code = function.__code__
    enclosed = [_identity_of_value(cell.cell_contents) for cell in function.__closure__ or ()]
    values = ((name, function.__globals__[name]) for name in _names(code) if name in function.__globals__)
    return code.co_code, code.co_consts, code.co_names, enclosed, [(n, _identity_of_value(v)) for n, v in values]


def _identity_of_value(value: Any) -> object:
    if isinstance(value, FunctionType) and value not in WORDS:
        return identity_of(value)
    return value if isinstance(value, (bool, int, float)) else getattr(value, "__name__", repr(value))


def _names(code: Any) -> Iterator[str]:
    """Return the global names that the code reads: those of attributes are among `co_names` too."""
    return (step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))


def _is_hashable(value: Any) -> bool:
    return type(value).__hash__ is not None


def _differs(module: ModuleType, words: Words) -> bool:
    return any(getattr(module, word.__name__, None) is word for word in words if callable(word))


class _Module(ModuleType):
    """A module some of whose functions are others; compilers take it for a module."""

    def __init__(self, module: ModuleType, swapped: Callable[[Any], Any]) -> None:
        super().__init__(module.__name__)
        self._module, self._swapped = module, swapped

    def __getattr__(self, name: str) -> Any:
        return self._swapped(getattr(self._module, name))


def define_at(function: Function, source: str, space: dict[str, Any]) -> None:
    """Run generated source, all of whose lines are the first line of that function.

    A compiler that looks for the text of a generated function in its file then finds the function that it was made
    for, and errors name its place. In the middle of another text, `inspect` can fail.
    """
    tree, line = ast.parse(source), function.__code__.co_firstlineno
    for node in ast.walk(tree):
        if isinstance(node, (ast.stmt, ast.expr, ast.arg, ast.keyword, ast.alias)):
            node.lineno, node.end_lineno, node.col_offset, node.end_col_offset = line, line, 0, 0
    exec(compile(tree, function.__code__.co_filename, "exec"), space)
