"""The syntax tree of a function that Python has already compiled, found in its file again."""

from __future__ import annotations
import __future__

import ast
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_
from types import CodeType, FunctionType
from typing import Any

__all__ = ["TranslationError", "Tree", "tree_of"]


class TranslationError(TypeError):
    """A function that contains what has no counterpart in C, or whose source is missing; the message says where."""


@dataclass(frozen=True)
class Tree:
    """A function's parameters and statements; those of a lambda are one return."""

    arguments: ast.arguments
    body: list[ast.stmt]


def tree_of(function: FunctionType) -> Tree:
    """Return the tree of a function, wherever in its file it is defined: in a class, in a function, as a lambda.

    Raises
    ------
    TranslationError
        There is no file to read, or it is not what Python compiled.
    """
    code = function.__code__
    place = f"{code.co_filename}, line {code.co_firstlineno}, {function.__name__}"
    try:
        source = "".join(inspect.findsource(function)[0])
        nodes: list[Any] = [node for node in ast.walk(_parsed(source)) if _begins_where(node, code)]
        compiled = any(_is_same(other, code) for other in _codes(_compiled(source, code.co_flags)))
    except (OSError, TypeError, SyntaxError) as error:
        raise TranslationError(
            f"{place}: its source cannot be read, from which C is generated ({error}); define it in a file"
        ) from error
    if not nodes or not compiled:
        raise TranslationError(f"{place}: its file was changed after it was imported; import it again")
    node = nodes[0] if len(nodes) == 1 else _nearest(nodes, code)
    if node is None:
        raise TranslationError(f"{place}: several lambdas begin in this line; write one a line, or use def")
    body = [ast.copy_location(ast.Return(node.body), node.body)] if isinstance(node, ast.Lambda) else node.body
    return Tree(node.args, body)


@lru_cache(16)
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


@lru_cache(16)
def _compiled(source: str, flags: int) -> CodeType:
    """Return the code of the module; `flags` are those of one of its functions, with what it has from the future."""
    future = flags & reduce(or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when it was imported
        code: CodeType = compile(source, "", "exec", future | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _is_same(one: CodeType, other: CodeType) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("co_firstlineno", "co_name", "co_code", "co_consts", "co_names", "co_varnames", "co_freevars")
    )


def _begins_where(node: ast.AST, code: CodeType) -> bool:
    if isinstance(node, ast.FunctionDef):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        return (node.name, first) == (code.co_name, code.co_firstlineno)
    return isinstance(node, ast.Lambda) and (code.co_name, code.co_firstlineno) == ("<lambda>", node.lineno)


def _nearest(nodes: list[Any], code: CodeType) -> Any:
    """Return the smallest of the nodes whose text has most of the code's instructions; None where none has any."""
    places = [place for place in code.co_positions() if place[2] is not None]

    def count(node: Any) -> int:
        text = node.body
        low, high = (text.lineno, text.col_offset), (text.end_lineno, text.end_col_offset)
        return sum(low <= (line, column) and (end, last) <= high for line, end, column, last in places)

    def size(node: Any) -> int:
        return len(ast.unparse(node))

    best = max(nodes, key=lambda node: (count(node), -size(node)))
    return best if count(best) else None
