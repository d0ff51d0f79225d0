"""The numbers of rules as C: for each rule a function that computes those of a moment, and a table of the functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..rules import RULES, TOTAL, Number, Rule, Sweep, with_limits
from ..rules.frame import Frame, frame_of, loops_of
from .functions import Functions

__all__ = ["built_in_schedules", "numbers_source"]

_FUNCTION = """\
static void NAMED({name})(int moment, double *frames, size_t frame_size, size_t spans)
{{
{moments}
}}
"""
_MOMENT = """\
    if (moment == {moment}) {{
{loops}
    }}"""
_TOTAL = """\
        double {total}_ = 0;
        for (size_t span = 0; span < spans; ++span)
            {total}_ += frames[span * frame_size + {place}];"""
_LOOP = """\
        for (size_t span = 0; span < spans; ++span) {{
            double *frame = frames + span * frame_size;
{numbers}
        }}"""


def built_in_schedules() -> dict[str, Rule]:
    """Return rules for all numbers that built-in rules compute with and without limits, by the name of their function.

    Rules without numbers of their own share the function of the limits.
    """
    rules = {"limits": with_limits(RULES["sgd"])}
    for name, rule in RULES.items():
        if rule.numbers and all(isinstance(stage, Sweep) for stage in rule.stages):
            rules |= {name: rule, f"{name}_with_limits": with_limits(rule)}
    return rules


def numbers_source(rules: Mapping[str, Rule]) -> str:
    """Return the functions of these rules, and the table ``NUMBERS`` of them by name.

    Raises
    ------
    TranslationError
        A number's function contains something that C cannot say.
    """
    functions = Functions()
    bodies = [_function(functions, name, rule) for name, rule in rules.items()]
    lines = "".join(f'    {{"{name}", NAMED({name})}},\n' for name in rules)
    table = f"static const struct numbers NUMBERS[] = {{\n{lines}}};\n"
    return "\n".join(
        ("/* Generated from the rules that it names; see fastopt/translate. */\n", *functions.text, *bodies, table)
    )


def _function(functions: Functions, name: str, rule: Rule) -> str:
    frame = frame_of(rule)
    moments = (
        _MOMENT.format(moment=moment, loops="\n".join(_loops(functions, frame, numbers)))
        for moment, numbers in enumerate(rule.schedule.after)
        if numbers
    )
    return _FUNCTION.format(name=name, moments="\n".join(moments))


def _loops(functions: Functions, frame: Frame, numbers: tuple[Number, ...]) -> Iterator[str]:
    for loop in loops_of(numbers):
        for total in loop.totals:
            yield _TOTAL.format(total=TOTAL + total, place=frame.places[total])
        yield _LOOP.format(numbers="\n".join(_line(functions, frame, number) for number in loop.numbers))


def _line(functions: Functions, frame: Frame, number: Number) -> str:
    values = (f"{name}_" if name.startswith(TOTAL) else f"frame[{frame.places[name]}]" for name in number.parameters)
    function = functions.add(number.function)
    return f"            frame[{frame.places[number.name]}] = NAMED({function})({', '.join(values)});"
