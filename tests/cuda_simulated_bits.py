"""The comparison of bits in the simulator; `simulated.py` runs this."""

import json

import numpy as np
import pytest
from bench_folder import bench_module
from cuda_simulation import _small_blocks, exact  # noqa: F401 - fixtures

from fastopt import Optimizer

bits = bench_module("bench.bits")


@pytest.mark.parametrize("rule", ["sgd", "adamw", "rmsprop_centered_momentum"])
def test_bits_agree_when_a_multiply_add_is_rounded_once(rule, exact):  # noqa: F811
    found = list(bits.check_bits([rule], ["float32", "float64"], [9], steps=2))
    assert len(found) == 2 * len(bits.FEATURES)
    assert [checked for checked in found if checked.different] == []


def test_what_differs_is_counted_and_is_exit_status_1(tmp_path, capsys, monkeypatch, exact):  # noqa: F811
    step = Optimizer.step

    def wrong(self, gradients, **options):
        step(self, gradients, **options)
        if self.backend == "cuda":
            self.parameters.array[3] = np.nextafter(self.parameters.array[3], np.float32(9))

    arguments = ["--rules", "adam", "--dtypes", "float32", "--sizes", "9", "--steps", "1", "--out", str(tmp_path / "b")]
    assert bits.main(arguments) == 0
    monkeypatch.setattr(Optimizer, "step", wrong)
    assert bits.main(arguments) == 1
    assert "adam float32, 9 elements, plain: {'parameters': 1}" in capsys.readouterr().out
    checked = json.loads((tmp_path / "b").read_text(encoding="utf-8"))["checked"]
    assert [one["different"] for one in checked] == [{"parameters": 1}] * len(bits.FEATURES)


def test_what_was_compared_before_an_interruption_is_kept(tmp_path, monkeypatch, exact):  # noqa: F811
    def interrupted(*_):
        yield bits.Checked("adam", "float32", 9, 1, "plain", {})
        raise KeyboardInterrupt

    monkeypatch.setattr(bits, "check_bits", interrupted)
    assert bits.main(["--out", str(tmp_path / "b")]) == 1
    content = json.loads((tmp_path / "b").read_text(encoding="utf-8"))
    assert (content["complete"], len(content["checked"])) == (False, 1)
