"""Scalar Python functions as C functions, from their syntax trees: the same operations in the same order.

A function is a sequence of assignments and one return. What it may contain: arithmetic, comparisons, number literals,
conditional expressions, words of the vocabulary, ``math.sqrt``, ``abs``, constants of its module, and calls of other
such functions. The text is meant for a place where ``REAL`` is the dtype, ``INLINE`` begins a function, ``NAMED(name)``
makes a name one of that dtype, and ``FMA``, ``SQRT``, ``ABS``, ``CLIP`` and ``SIGN`` are what they say.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

from ..rules import vocabulary

__all__ = ["Functions", "NotTranslatable"]

_MACROS: dict[Any, str] = {
    abs: "ABS",
    math.sqrt: "SQRT",
    vocabulary.clip: "CLIP",
    vocabulary.fma: "FMA",
    vocabulary.sign: "SIGN",
}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS = {ast.Gt: ">", ast.Lt: "<", ast.GtE: ">=", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
_JOINED = {ast.And: "&&", ast.Or: "||"}


class NotTranslatable(TypeError):
    """A function that contains what has no counterpart in C; the message says where and what."""


class Functions:
    """C functions, each with those that it calls in front of it.

    Parameters
    ----------
    words
        Further functions that may be called, and what is called in C in the place of each: a function to translate, or
        the name of one that C has.
    """

    def __init__(self, words: Mapping[Callable[..., Any], Callable[..., Any] | str] | None = None) -> None:
        self.words = dict(words or {})
        self._names: dict[Callable[..., Any], str] = {}
        self.text: list[str] = []

    def add(self, function: Callable[..., Any], results: Sequence[str] | None = None) -> str:
        """Translate a function and return its name in C.

        Parameters
        ----------
        function
            A scalar function.
        results
            Names of its results, which it then writes through pointers that follow its parameters; a result of two
            numbers has two. By default it returns its only result.

        Raises
        ------
        NotTranslatable
            It contains something that C cannot say, or its source cannot be found.
        """
        if function not in self._names:
            name = f"scalar_{function.__module__.rpartition('.')[2]}_{function.__name__}"
            taken = sum(known.rstrip("_") == name for known in self._names.values())
            self._names[function] = name + "_" * taken
            text = _Translation(self, function, self._names[function], results).text()
            self.text.append(text)
        return self._names[function]


class _Translation:
    """One function on its way to C."""

    def __init__(self, functions: Functions, function: Callable[..., Any], name: str, results: Sequence[str] | None):
        self._functions, self._function, self._name, self._results = functions, function, name, results
        self._tree = _tree_of(function)
        arguments = self._tree.args
        self._parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        self._known = set(self._parameters)
        self._enclosed = inspect.getclosurevars(function)

    def text(self) -> str:
        body = [line for statement in self._tree.body for line in self._statement(statement)]
        outputs = [f"REAL *result_{name}" for name in self._results or ()]
        parameters = ", ".join([*(f"REAL {name}_" for name in self._parameters), *outputs]) or "void"
        kind = "void" if self._results is not None else "REAL"
        lines = "\n".join(f"    {line}" for line in body)
        return f"INLINE {kind} NAMED({self._name})({parameters})\n{{\n{lines}\n}}\n"

    def _statement(self, statement: ast.stmt) -> list[str]:
        match statement:
            case ast.Expr(value=ast.Constant(value=str())):
                return []
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                return [self._assignment(name, value)]
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                raise self._error(statement, "an assignment of several values at once; write one a line")
            case ast.AugAssign(target=ast.Name(id=name), op=operator, value=value):
                return [self._assignment(name, ast.BinOp(ast.Name(name), operator, value))]
            case ast.Return(value=value) if value is not None:
                return self._return(value)
        raise self._error(statement, "only assignments and one return can be translated")

    def _assignment(self, name: str, value: ast.expr) -> str:
        text = self._expression(value)
        declared = "" if name in self._known else "REAL "
        self._known.add(name)
        return f"{declared}{name}_ = {text};"

    def _return(self, value: ast.expr) -> list[str]:
        if self._results is None:
            return [f"return {self._expression(value)};"]
        values = value.elts if isinstance(value, ast.Tuple) else [value]
        flat = [part for v in values for part in (v.elts if isinstance(v, ast.Tuple) else [v])]
        if len(flat) != len(self._results):
            raise self._error(value, f"it returns {len(flat)} numbers, expected {len(self._results)}")
        return [f"*result_{n} = {self._expression(v)};" for n, v in zip(self._results, flat, strict=True)]

    def _expression(self, node: ast.expr) -> str:
        number = self._constant(node)
        if number is not None:
            return f"(REAL){number!r}" if math.isfinite(number) else f"(REAL){'-' if number < 0 else ''}INFINITY"
        match node:
            case ast.Name(id=name) if name in self._known:
                return f"{name}_"
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return f"-{self._expression(x)}"
            case ast.UnaryOp(op=ast.Not(), operand=x):
                return f"(!{self._expression(x)})"
            case ast.BinOp(left=a, op=operator, right=b) if type(operator) in _OPERATORS:
                return f"({self._expression(a)} {_OPERATORS[type(operator)]} {self._expression(b)})"
            case ast.Compare(left=a, ops=[operator], comparators=[b]) if type(operator) in _COMPARISONS:
                return f"({self._expression(a)} {_COMPARISONS[type(operator)]} {self._expression(b)})"
            case ast.BoolOp(op=operator, values=values):
                return f"({f' {_JOINED[type(operator)]} '.join(map(self._expression, values))})"
            case ast.IfExp(test=c, body=a, orelse=b):
                return f"({self._expression(c)} ? {self._expression(a)} : {self._expression(b)})"
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self._call(node, function, list(map(self._expression, arguments)))
        raise self._error(node, "it has no counterpart in C")

    def _call(self, node: ast.expr, function: ast.expr, arguments: list[str]) -> str:
        called = self._object(function)
        if called in self._functions.words:
            called = self._functions.words[called]
        if isinstance(called, str):
            return f"{called}({', '.join(arguments)})"
        if called is vocabulary.where:
            return "({} ? {} : {})".format(*arguments)
        if called in _MACROS:
            return f"{_MACROS[called]}({', '.join(arguments)})"
        if isinstance(called, FunctionType):
            return f"NAMED({self._functions.add(called)})({', '.join(arguments)})"
        raise self._error(node, "call math.sqrt, abs, fma, clip, sign, where, or functions made of these")

    def _constant(self, node: ast.expr) -> float | None:
        """Return the value of an expression of literals and constants of the module, computed here in float64."""
        match node:
            case ast.Constant(value=bool()):
                return None
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.UnaryOp(op=ast.USub(), operand=x):
                inner = self._constant(x)
                return None if inner is None else -inner
            case ast.BinOp(left=a, op=operator, right=b) if type(operator) in _OPERATORS:
                left, right = self._constant(a), self._constant(b)
                if left is None or right is None or self._is_named(a) or self._is_named(b):
                    return None
                return float(eval(f"{left!r} {_OPERATORS[type(operator)]} {right!r}"))
            case ast.Name() | ast.Attribute():
                value = self._object(node)
                return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        return None

    def _is_named(self, node: ast.expr) -> bool:
        """Return whether it is a constant's name: Python computes with its value when the function runs, in the dtype."""
        return any(isinstance(part, (ast.Name, ast.Attribute)) for part in ast.walk(node))

    def _object(self, node: ast.expr) -> Any:
        """Return what a name, or an attribute of a module, stands for; None where it is a variable."""
        match node:
            case ast.Name(id=name) if name not in self._known:
                for space in (self._enclosed.nonlocals, self._enclosed.globals, self._enclosed.builtins):
                    if name in space:
                        return space[name]
            case ast.Attribute(value=value, attr=attribute):
                module = self._object(value)
                return getattr(module, attribute, None) if isinstance(module, ModuleType) else None
        return None

    def _error(self, node: ast.AST, reason: str) -> NotTranslatable:
        return NotTranslatable(f"{self._function.__name__}: {ast.unparse(node)}: {reason}")


def _tree_of(function: Callable[..., Any]) -> ast.FunctionDef:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise NotTranslatable(f"{function.__name__}: its source is not there to translate: {error}") from error
    tree = ast.parse(source).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise NotTranslatable(f"{function.__name__}: it is no function that was defined by def")
    return tree
