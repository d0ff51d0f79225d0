"""Scalar Python functions as C functions, from their syntax trees: the same operations in the same order.

A function is a sequence of assignments and one return. What it may contain: arithmetic, comparisons, number literals,
conditional expressions, words of the vocabulary, ``math.sqrt``, ``abs``, numbers of its module or of the function
around it, and calls of other such functions, which may return several values. The text is meant for a place where
``REAL`` is the dtype, ``INLINE`` begins a function, ``NAMED(name)`` makes a name one of that dtype, and ``FMA``,
``SQRT``, ``ABS``, ``CLIP`` and ``SIGN`` are what they say.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, TypeGuard

from ..rules import vocabulary
from .trees import TranslationError, tree_of

__all__ = ["Functions", "TranslationError"]

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
_MISSING = object()
_ADVICE: dict[Any, str] = {
    ast.Pow: "write a product, x * x for x ** 2",
    ast.FloorDiv: "there is no integer division",
    ast.Mod: "there is no remainder",
    min: "write where(a < b, a, b)",
    max: "write where(a > b, a, b)",
}


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
        own = dict.fromkeys(f"{word.__name__}, " for word, other in self.words.items() if not isinstance(other, str))
        self.advice = f"call {''.join(own)}math.sqrt, abs, fma, clip, sign, where, or functions made of these"
        self._names: dict[tuple[Callable[..., Any], int | None], str] = {}
        self._unfinished: set[str] = set()
        self._truths: set[str] = set()
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
        TranslationError
            It contains something that C cannot say, or its source cannot be found.
        """
        key = (function, None if results is None else len(results))
        if key not in self._names:
            name = _c_name(f"scalar_{(function.__module__ or '').rpartition('.')[2]}_{function.__name__}")
            taken = sum(known.rstrip("_") == name for known in self._names.values())
            self._names[key] = name = name + "_" * taken
            self._unfinished.add(name)
            translation = _Translation(self, function, name, results)
            self.text.append(translation.text())
            self._unfinished.remove(name)
            if translation.returns_truth:
                self._truths.add(name)
        return self._names[key]

    def in_place_of(self, called: Any) -> Any:
        """Return what is called in the place of a function: another one, the name of one in C, or itself."""
        return next((other for word, other in self.words.items() if word is called), called)

    def is_unfinished(self, name: str) -> bool:
        """Return whether a function is being translated."""
        return name in self._unfinished

    def is_truth(self, name: str) -> bool:
        """Return whether a function returns what a comparison gives, and no number."""
        return name in self._truths


class _Translation:
    """One function on its way to C."""

    def __init__(self, functions: Functions, function: Any, name: str, results: Sequence[str] | None):
        self._functions, self._function, self._name, self._results = functions, function, name, results
        self._tree = tree_of(function)
        arguments = self._tree.arguments
        self._parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        self._types = dict.fromkeys(self._parameters, "REAL")
        self._locals = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
        self._temporaries = 0
        self.returns_truth = False
        if arguments.vararg or arguments.kwarg:
            raise self._error(self._tree.body[0], "a function with * or ** parameters has no counterpart in C")

    def text(self) -> str:
        *statements, last = self._tree.body
        body = [line for statement in statements for line in self._statement(statement)]
        if not isinstance(last, ast.Return) or last.value is None:
            raise self._error(last, "a function ends with the return of its result")
        body += self._return(last.value)
        used = {node.id for statement in self._tree.body for node in ast.walk(statement) if isinstance(node, ast.Name)}
        unused = [f"(void){_variable(name)};" for name in self._parameters if name not in used]
        outputs = [f"REAL *result_{name}" for name in self._results or ()]
        parameters = ", ".join([*(f"REAL {_variable(name)}" for name in self._parameters), *outputs]) or "void"
        kind = "void" if self._results is not None else "int" if self.returns_truth else "REAL"
        lines = "\n".join(f"    {line}" for line in (*unused, *body))
        return f"INLINE {kind} NAMED({self._name})({parameters})\n{{\n{lines}\n}}\n"

    def _statement(self, statement: ast.stmt) -> list[str]:
        match statement:
            case ast.Expr(value=ast.Constant(value=str())) | ast.Pass() | ast.AnnAssign(value=None):
                return []
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                return [self._assignment(statement, name, value)]
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                return [self._assignment(statement, name, value)]
            case ast.AugAssign(target=ast.Name(id=name) as target, op=operator, value=value):
                read = ast.copy_location(ast.Name(name, ast.Load()), target)
                changed = ast.copy_location(ast.BinOp(read, operator, value), statement)
                return [self._assignment(statement, name, changed)]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                if all(isinstance(target, ast.Name) for target in targets):
                    return self._assignments(statement, [target.id for target in targets], value)  # type: ignore[attr-defined]
            case ast.If():
                raise self._error(statement.test, "there are no branches: write where(condition, a, b)")
            case ast.Return():
                raise self._error(statement, "a function has one return, at its end")
        raise self._error(statement, "only assignments and one return can be translated to C")

    def _assignment(self, statement: ast.stmt, name: str, value: ast.expr) -> str:
        if self._is_truth(value):
            return self._store(statement, name, "int", self._truth(value))
        return self._store(statement, name, "REAL", self._number(value))

    def _assignments(self, statement: ast.stmt, names: list[str], value: ast.expr) -> list[str]:
        """Return the assignment of several values: all of them are computed before the first is assigned."""
        lines, values = self._several(value, len(names))
        places = [self._temporary() for _ in names]
        lines += [f"const REAL {place} = {v};" for place, v in zip(places, values, strict=True)]
        return lines + [self._store(statement, n, "REAL", place) for n, place in zip(names, places, strict=True)]

    def _store(self, statement: ast.stmt, name: str, kind: str, text: str) -> str:
        known = self._types.setdefault(name, "")
        if known and known != kind:
            raise self._error(statement, f"{name} cannot be a number here and a comparison there; use two names")
        self._types[name] = kind
        return f"{'' if known else kind + ' '}{_variable(name)} = {text};"

    def _return(self, value: ast.expr) -> list[str]:
        if self._results is None:
            self.returns_truth = self._is_truth(value)
            return [f"return {self._truth(value) if self.returns_truth else self._number(value)};"]
        lines, values = self._several(value, len(self._results))
        return lines + [f"*result_{n} = {v};" for n, v in zip(self._results, values, strict=True)]

    def _several(self, value: ast.expr, count: int) -> tuple[list[str], list[str]]:
        """Return lines that go first, and that many numbers."""
        called = self._object(value.func) if isinstance(value, ast.Call) else None
        if isinstance(value, ast.Call) and _is_function(called) and count > 1:
            name = self._name_of(value, called, [str(k) for k in range(count)])
            values = [self._temporary() for _ in range(count)]
            arguments = [*self._arguments(value, called), *(f"&{v}" for v in values)]
            return [f"REAL {', '.join(values)};", f"NAMED({name})({', '.join(arguments)});"], values
        given = value.elts if isinstance(value, ast.Tuple) else [value]
        flat = [part for v in given for part in (v.elts if isinstance(v, ast.Tuple) else [v])]
        if len(flat) != count:
            raise self._error(value, f"got {len(flat)} numbers, expected {count}")
        return [], [self._number(part) for part in flat]

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"several_{self._temporaries}"

    def _number(self, node: ast.expr) -> str:
        number = self._constant(node)
        if number is not None:
            return _literal(number)
        if self._is_truth(node):
            raise self._error(node, "a comparison is no number; write where(condition, 1.0, 0.0)")
        match node:
            case ast.Name(id=name) if name in self._types:
                return _variable(name)
            case ast.Name(id=name) if name in self._locals:
                raise self._error(node, "it has no value here")
            case ast.UnaryOp(op=ast.USub(), operand=x):
                text = self._number(x)
                return f"-({text})" if text.startswith("-") else f"-{text}"
            case ast.UnaryOp(op=ast.UAdd(), operand=x):
                return self._number(x)
            case ast.BinOp(left=a, op=operator, right=b) if type(operator) in _OPERATORS:
                return f"({self._number(a)} {_OPERATORS[type(operator)]} {self._number(b)})"
            case ast.BinOp(op=operator) if type(operator) in _ADVICE:
                raise self._error(node, f"it has no counterpart in C: {_ADVICE[type(operator)]}")
            case ast.IfExp(test=c, body=a, orelse=b):
                return f"({self._truth(c)} ? {self._number(a)} : {self._number(b)})"
            case ast.Call():
                return self._call(node)
        raise self._error(node, "it has no counterpart in C")

    def _truth(self, node: ast.expr) -> str:
        if not self._is_truth(node):
            return f"({self._number(node)} != 0)"
        match node:
            case ast.Name(id=name) if name in self._types:
                return _variable(name)
            case ast.Constant() | ast.Name() | ast.Attribute():
                return str(int(self._value(node)))
            case ast.UnaryOp(operand=x):
                return f"(!{self._truth(x)})"
            case ast.Compare(left=left, ops=operators, comparators=others):
                pairs = zip([left, *others[:-1]], operators, others, strict=True)
                first, *further = [self._comparison(node, *pair) for pair in pairs]
                return f"({' && '.join((first, *further))})" if further else first
            case ast.BoolOp(op=operator, values=values):
                return f"({f' {_JOINED[type(operator)]} '.join(map(self._truth, values))})"
            case ast.IfExp(test=c, body=a, orelse=b):
                return f"({self._truth(c)} ? {self._truth(a)} : {self._truth(b)})"
            case ast.Call():
                return self._call(node)
        raise self._error(node, "it has no counterpart in C")

    def _is_truth(self, node: ast.expr) -> bool:
        """Return whether an expression gives what a comparison gives: C has no number for it that Python would have."""
        match node:
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return True
            case ast.Name(id=name) if name in self._types:
                return self._types[name] == "int"
            case ast.Constant() | ast.Name() | ast.Attribute():
                return isinstance(self._value(node), bool)
            case ast.IfExp(body=a, orelse=b):
                return self._is_truth(a) and self._is_truth(b)
            case ast.Call(func=function):
                called = self._functions.in_place_of(self._object(function))
                if _is_function(called):
                    return self._functions.is_truth(self._name_of(node, called))
        return False

    def _comparison(self, node: ast.expr, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> str:
        if type(operator) not in _COMPARISONS:
            raise self._error(node, "it has no counterpart in C")
        return f"({self._number(left)} {_COMPARISONS[type(operator)]} {self._number(right)})"

    def _call(self, node: ast.Call) -> str:
        called = self._object(node.func)
        given = self._functions.in_place_of(called)
        if called is vocabulary.where:
            condition, a, b = self._bound(node, called)
            choice = self._truth(condition), self._number(a), self._number(b)
            return "({} ? {} : {})".format(*choice) if given is called else f"{given}({', '.join(choice)})"
        if isinstance(given, str):
            return f"{given}({', '.join(self._arguments(node, called))})"
        called = given
        macro = next((macro for word, macro in _MACROS.items() if word is called), None)
        if macro:
            return f"{macro}({', '.join(self._arguments(node, called))})"
        if _is_function(called):
            return f"NAMED({self._name_of(node, called)})({', '.join(self._arguments(node, called))})"
        advice = next((advice for word, advice in _ADVICE.items() if word is called), None)
        raise self._error(node, advice or self._functions.advice)

    def _name_of(self, node: ast.expr, called: FunctionType, results: Sequence[str] | None = None) -> str:
        name = self._functions.add(called, results)
        if self._functions.is_unfinished(name):
            raise self._error(node, "a function that calls itself has no counterpart in C")
        return name

    def _arguments(self, node: ast.Call, called: Any) -> list[str]:
        return [self._number(value) for value in self._bound(node, called)]

    def _bound(self, node: ast.Call, called: Any) -> list[ast.expr]:
        """Return the arguments of a call in the order of the function's parameters, with its defaults."""
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if None in keywords or any(isinstance(value, ast.Starred) for value in node.args):
            raise self._error(node, "arguments with * or ** have no counterpart in C")
        try:
            bound = inspect.signature(called, follow_wrapped=False).bind(*node.args, **keywords)  # type: ignore[arg-type]
        except TypeError as error:
            raise self._error(node, str(error)) from error
        bound.apply_defaults()
        values = bound.arguments.values()
        return [v if isinstance(v, ast.expr) else ast.copy_location(ast.Constant(v), node) for v in values]

    def _constant(self, node: ast.expr) -> float | None:
        """Return the value of a number: a constant, or an expression of literals, which Python computes in advance."""
        try:
            match node:
                case ast.Constant() | ast.Name() | ast.Attribute():
                    value = self._value(node)
                case ast.UnaryOp(op=ast.USub(), operand=ast.Name() | ast.Attribute() as x):
                    inner = self._constant(x)
                    value = None if inner is None else -inner
                case ast.UnaryOp() | ast.BinOp() if _is_literal(node):
                    value = eval(compile(ast.Expression(node), "", "eval"))
                case _:
                    return None
            return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        except ZeroDivisionError:
            return None
        except OverflowError as error:
            raise self._error(node, f"it is too large for a float: {error}") from error

    def _value(self, node: ast.expr) -> Any:
        """Return the value of a literal, or what a name stands for."""
        return node.value if isinstance(node, ast.Constant) else self._object(node)

    def _object(self, node: ast.expr) -> Any:
        """Return what a name, or an attribute of a module, stands for; None where it is a variable."""
        match node:
            case ast.Name(id=name) if name not in self._locals:
                value = self._enclosed(name)
                if value is _MISSING:
                    raise self._error(node, "there is nothing of that name")
                return value
            case ast.Attribute(value=value, attr=attribute):
                module = self._object(value)
                return getattr(module, attribute, None) if isinstance(module, ModuleType) else None
        return None

    def _enclosed(self, name: str) -> Any:
        """Return the value of a variable of the function around it, of its module, or of Python."""
        function = self._function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        if name in cells:
            try:
                return cells[name].cell_contents
            except ValueError:  # it has no value yet
                return _MISSING
        return function.__globals__.get(name, function.__builtins__.get(name, _MISSING))

    def _error(self, node: ast.AST, reason: str) -> TranslationError:
        code = self._function.__code__
        line = getattr(node, "lineno", code.co_firstlineno)
        text = ast.unparse(node).partition("\n")[0]
        return TranslationError(f"{code.co_filename}, line {line}, {self._function.__name__}: {text}: {reason}")


def _is_function(called: Any) -> TypeGuard[FunctionType]:
    """Return whether it is a scalar function that is no word of the vocabulary."""
    return isinstance(called, FunctionType) and called not in _MACROS and called is not vocabulary.where


def _is_literal(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=x):
            return _is_literal(x)
        case ast.BinOp(left=a, right=b):
            return _is_literal(a) and _is_literal(b)
    return False


def _literal(number: float) -> str:
    if math.isfinite(number):
        return f"(REAL){number!r}"
    return "(REAL)NAN" if math.isnan(number) else f"(REAL){'-' if number < 0 else ''}INFINITY"


def _variable(name: str) -> str:
    """Return a name that means nothing else in C."""
    return f"{_c_name(name)}_"


def _c_name(name: str) -> str:
    return "".join(x if x.isascii() and (x.isalnum() or x == "_") else f"u{ord(x):x}" for x in name)
