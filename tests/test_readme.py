"""The README's Python runs, and its table of rules is the registry's; this file as a script writes the table."""

import re
from pathlib import Path

import pytest

from fastopt.rules import RULES

README = Path(__file__).parent.parent / "README.md"
TABLE = re.compile(r"(?<=<!-- rules -->\n).*?(?=<!-- end of rules -->)", re.DOTALL)

pytestmark = pytest.mark.skipif(not README.exists(), reason="the tests lie outside the source tree, without its README")


def rules_table():
    lines = ["| rule | update | state | bytes |", "|---|---|---|---|"]
    for rule in RULES.values():
        states = ", ".join(f"`{name}`" for name in rule.states) or "none"
        lines.append(f"| `{rule.name}` | {rule.equation} | {states} | {4 * rule.words_per_parameter()} |")
    return "\n".join(lines) + "\n"


def test_table_of_rules_is_the_registry():
    assert TABLE.search(README.read_text(encoding="utf-8"))[0] == rules_table()


def test_python_examples_run(tmp_path, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    space = {"__name__": "readme", "__file__": str(script)}
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), space)
    assert space["accuracy"] > 0.97
    assert "of 359 images" in capsys.readouterr().out


if __name__ == "__main__":
    README.write_text(TABLE.sub(lambda match: rules_table(), README.read_text(encoding="utf-8")), encoding="utf-8")
