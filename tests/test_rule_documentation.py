"""What is said of each built-in rule: complete, of nothing else, and printed as a page of 100 columns."""

import doctest
import inspect
import re
import sys

import pytest

from fastopt.cli import main
from fastopt.rules import RULES

TITLES = ("Hyper-parameters", "Use it", "Weaknesses", "References")
COMMON = set("pgtηλ")
"""The symbols that ``fastopt rules NAME`` explains for every rule."""

MODULES = sorted({rule.stages[0].update.__module__ for rule in RULES.values()})


def rules_of(module):
    return [rule for rule in RULES.values() if rule.stages[0].update.__module__ == module]


def documentation(module):
    """Return the module's docstring, without its example."""
    return inspect.getdoc(sys.modules[module]).partition("\n>>>")[0]


def section(module, title):
    """Return the rest of a section's first line, and its indented lines."""
    return re.search(rf"^{title}:(.*\n(?: +.*\n)*)", documentation(module) + "\n", re.MULTILINE)[1]


@pytest.fixture
def explained(capsys):
    """Return what gives the lines of ``fastopt rules`` for a rule."""

    def explain(spec):
        assert main(["rules", spec]) == 0
        return capsys.readouterr().out.splitlines()

    return explain


@pytest.mark.parametrize("module", MODULES)
def test_sections_are_there_in_order(module):
    assert tuple(re.findall(r"^([A-Z][\w -]+):(?= |$)", documentation(module), re.MULTILINE)[-4:]) == TITLES
    for title in TITLES:
        assert len(section(module, title).split()) > 3


@pytest.mark.parametrize("module", MODULES)
def test_hyper_parameters_are_those_of_its_rules(module):
    named = re.findall(r"^ +(\w+): ", section(module, "Hyper-parameters"), re.MULTILINE)
    expected = {name for rule in rules_of(module) for name in rule.hyper if name != "weight_decay" or not rule.decay}
    assert sorted(named) == sorted(expected)


@pytest.mark.parametrize("module", MODULES)
def test_references_have_a_year(module):
    assert re.search(r"\b(19|20)\d\d\b", section(module, "References"))


@pytest.mark.parametrize("module", MODULES)
def test_there_is_an_example(module):
    """That it runs is tested with all others, in test_doctests.py."""
    assert len(doctest.DocTestParser().get_examples(inspect.getdoc(sys.modules[module]))) >= 3


@pytest.mark.parametrize("name", RULES)
def test_symbols_states_and_memory_are_explained(name):
    rule, text = RULES[name], documentation(RULES[name].stages[0].update.__module__)
    words = re.findall(r"[^\W\d_]+", re.sub("[₀-₉₊₋ᵗ²]", " ", rule.equation))
    symbols = {word for word in words if len(word) == 1} - COMMON
    assert symbols <= set(re.findall(r"[^\W\d_]+", re.sub("[₀-₉₊₋ᵗ²]", " ", text)))
    kept = {*rule.states, *rule.memory_at_start(rule.hyper)} - symbols
    assert kept <= set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("name", RULES)
def test_command_prints_everything_in_100_columns(name, explained):
    lines, rule = explained(name), RULES[name]
    assert lines[0] == name
    assert max(map(len, lines)) <= 100
    assert [line.strip() for line in rule.equation.split(";")] == [
        line.strip() for line in lines[2 : lines.index("", 2)]
    ]
    for hyper, default in rule.hyper.items():
        shown = " ".join(f"{number:g}" for number in (default if isinstance(default, tuple) else (default,)))
        assert (
            sum(
                re.match(rf"    {hyper} +{re.escape(str(rule.ranges[hyper]))} +{shown}  +\w", x) is not None
                for x in lines
            )
            == 1
        )
    for said in documentation(rule.stages[0].update.__module__).splitlines():
        assert said in lines or said == "Hyper-parameters:" or re.match(r"    \w+: ", said)


def test_command_does_not_show_hyper_parameters_of_another_rule_in_the_file(explained):
    assert not any(line.startswith("    momentum ") for line in explained("rmsprop"))


@pytest.mark.parametrize("docstring", ["", '"""A rule.\n\nOf mine.\n"""\n'])
def test_a_rule_without_these_sections(docstring, explained, tmp_path):
    source = "from fastopt import fma, rule\n\n@rule\ndef mine(p, g, v, *, lr=0.01, drag=0.5):\n"
    source += "    v = fma(drag, v, g)\n    return fma(-lr, v, p), v\n"
    (tmp_path / "mine.py").write_text(docstring + source)
    lines = explained(f"{tmp_path}/mine.py")
    said = ["A rule.", "", "Of mine.", ""] if docstring else []
    assert lines[:2] == ["mine", ""]
    assert lines[3:6] == [
        "    state: v; 4 bytes per parameter",
        "    a step reads and writes 20 bytes per parameter",
        "",
    ]
    assert lines[6:-4] == said
    assert lines[-3:-1] == ["    lr            ≥ 0     0.01", "    drag          finite  0.5"]
    assert "\n\n\n" not in "\n".join(lines)
