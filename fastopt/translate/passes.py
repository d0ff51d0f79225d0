"""Sweeps as C: for each the loop over some elements, and its line in the table of passes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from .. import _constants
from ..rules import PRELUDE_NUMBERS, RULES, Rule, Sweep, prelude, with_limits
from .functions import Functions

__all__ = ["built_in_sweeps", "constants_source", "is_built_in", "listing_source", "passes_source", "table_source"]

_HEADER = "/* Generated from the Python functions that it names; see fastopt/translate. */\n\n"
_PART = """\
INLINE void PART({name}_part)(size_t start, size_t size, size_t rows, TYPE_P *restrict p, const TYPE_P *restrict g,
                              TYPE_S *const *states, const REAL *c, double *restrict lanes MORE)
{{
{declarations}
    for (size_t lane = 0; lane < size; ++lane)
        for (size_t i = start + lane, row = 0; row < rows; ++row, i += GROUP) {{
            REAL {results};
{prelude}
            NAMED({function})({arguments});
{stores}
        }}
    (void)p, (void)g, (void)states, (void)c, (void)lanes;
    USE_MORE
}}
INLINE void PART({name}_fetch)(size_t i, const TYPE_P *p, const TYPE_P *g, TYPE_S *const *states)
{{
{fetches}
    (void)p, (void)g, (void)states;
}}
PASS({name}, {numbers}, {states}, {sums}, {written})
"""


@cache
def built_in_sweeps() -> dict[str, Sweep]:
    """Return every sweep of the built-in rules, and of the limits in front of them, by its name."""
    return {sweep.name: sweep for sweep in _sweeps([with_limits(RULES["sgd"]), *RULES.values()])}


def is_built_in(sweep: Sweep) -> bool:
    """Return whether C has it from when the package was built; one of a built-in's name may be the user's own."""
    return built_in_sweeps().get(sweep.name) is sweep


def passes_source(sweeps: Iterable[Sweep]) -> tuple[str, str]:
    """Return the scalar functions of these sweeps, and the passes over them, which call those.

    The functions are to be included once for each dtype and vector width, and the passes once for each storage of the
    buffers then: `TYPE_P`, `LOAD_P` and `STORE_P` say how parameters and gradients lie in memory, and those of `S` how
    states do.
    """
    functions = Functions()
    parts = [_part(functions, sweep) for sweep in sweeps]
    return _HEADER + "\n".join(functions.text), _HEADER + "\n".join(parts)


def table_source(sweeps: Iterable[Sweep]) -> str:
    """Return the lines of the table of passes."""
    lines = (f"RULE({sweep.name}, {len(sweep.states)}, {_count(sweep)}, {len(sweep.sums)})\n" for sweep in sweeps)
    return _HEADER + "".join(lines)


def listing_source(sweeps: Iterable[Sweep]) -> str:
    """Return a comment for C users: what each entry of that table takes and gives, in the order of its arrays."""
    entries = []
    for sweep in sweeps:
        lists = {"states": sweep.states, "numbers": sweep.numbers, "sums": sweep.sums}
        lines = [f"     {what:<8} {', '.join(names)}\n" for what, names in lists.items() if names]
        taken = " and ".join(buffer for buffer in ("p", "g") if buffer in sweep.buffers)
        entries.append(f" *   {sweep.name}, of {taken}\n" + "".join(f" *{line}" for line in lines))
    first = ", ".join(PRELUDE_NUMBERS)
    return f"/* Rules. Their numbers follow the first four of every rule, {first}:\n *\n{''.join(entries)} */\n"


def constants_source() -> str:
    """Return the constants that C has in common with Python; bits depend on most of them."""
    names = ("MOST_STATES", "KEY_NUMBERS", "CHUNK", "LANES", "PARTS", "PARTS_FROM", "PARTS_TO", "FEW_ROWS", "MOST_ROWS")
    lines = [f"enum {{ {name} = {getattr(_constants, name)} }};\n" for name in names]
    lines += [f"#define {name} {getattr(_constants, name):#x}u\n" for name in ("MIX_FIRST", "MIX_SECOND")]
    prelude = ", ".join(name.upper() for name in PRELUDE_NUMBERS)
    return "".join((_HEADER, *lines, f"enum {{ {prelude} }}; /* the first numbers of every pass */\n"))


def _sweeps(rules: Iterable[Rule]) -> list[Sweep]:
    return list(dict.fromkeys(stage for rule in rules for stage in rule.stages if isinstance(stage, Sweep)))


def _count(sweep: Sweep) -> int:
    return len(PRELUDE_NUMBERS) + len(sweep.numbers)


def _part(functions: Functions, sweep: Sweep) -> str:
    terms = [f"{name}_{side}" for name in sweep.sums for side in "ab"]
    results = [*sweep.writes, *terms]
    values = {buffer: _loaded(buffer) for buffer in sweep.buffers} | (
        {"p": "p_", "g": "g_"} if sweep.has_prelude else {}
    )
    places = {buffer: place for place, buffer in enumerate(("p", *sweep.states))}
    arguments = [values[buffer] for buffer in sweep.buffers]
    arguments += [f"c[{len(PRELUDE_NUMBERS) + k}]" for k in range(len(sweep.numbers))]
    stores = [
        f"        STORE_{'P' if buffer == 'p' else 'S'}({buffer}, i, new_{buffer}, {places[buffer]});"
        for buffer in sweep.writes
    ]
    stores += [
        f"        lanes[{k} * LANES + lane] = fma((double)new_{name}_a, (double)new_{name}_b, "
        f"lanes[{k} * LANES + lane]);"
        for k, name in enumerate(sweep.sums)
    ]
    fetched = [buffer for buffer in ("p", "g") if buffer in sweep.buffers]
    fetches = [f"    PREFETCH({buffer} + i);" for buffer in fetched]
    fetches += [f"    PREFETCH(states[{k}] + i);" for k in range(len(sweep.states))]
    return _PART.format(
        name=sweep.name,
        declarations="\n".join(f"    TYPE_S *restrict {s} = states[{k}];" for k, s in enumerate(sweep.states)),
        results=", ".join(f"new_{name}" for name in results),
        prelude=_prelude(functions, sweep),
        function=functions.add(sweep.update, results),
        arguments=", ".join((*arguments, *(f"&new_{name}" for name in results))),
        stores="\n".join(stores),
        fetches="\n".join(fetches),
        numbers=_count(sweep),
        states=len(sweep.states),
        sums=len(sweep.sums),
        written=sum(1 << places[buffer] for buffer in sweep.writes),
    )


def _loaded(buffer: str) -> str:
    return f"LOAD_{'P' if buffer in ('p', 'g') else 'S'}({buffer}, i)"


def _prelude(functions: Functions, sweep: Sweep) -> str:
    if not sweep.has_prelude:
        return ""
    scaled = f"NAMED({functions.add(prelude.scaled)})(LOAD_P(g, i), c[GRAD_SCALE], c[CLIP_VALUE])"
    decayed = functions.add(prelude.decayed, ("p", "g"))
    lines = []
    if "g" in sweep.buffers:
        lines.append(f"REAL g_ = {scaled};")
    if "p" in sweep.buffers:
        gradient = "g_" if "g" in sweep.buffers else "unused"
        lines.append("REAL p_;" if gradient == "g_" else "REAL p_, unused = 0;")
        lines.append(f"NAMED({decayed})(LOAD_P(p, i), {gradient}, c[WEIGHT_DECAY], c[DECAY_FACTOR], &p_, &{gradient});")
    return "\n".join(f"        {line}" for line in lines)
