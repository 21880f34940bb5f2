"""Every example runs and shows what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import config

import kernchem

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = [
    pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not here"),
    pytest.mark.skipif(bool(config.DISABLE_JIT), reason="too slow as plain Python"),
]


def output_of(name, folder, *options):
    """Run an example in an empty folder, without threads that wait for each other."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options],
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(kernchem.__file__).parent.parent),
            "PYTHONIOENCODING": "utf-8",
            "OMP_NUM_THREADS": "1",
        },
    ).stdout


def number_behind(text, output):
    return float(re.search(rf"{re.escape(text)}\D*([\d.]+)", output)[1])


def test_all_examples_are_tested():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == [
        "01_benchmark.py", "02_delta_learning.py", "03_scikit_learn.py", "04_error_bars.py",
        "05_active_learning.py", "06_adversarial_sampling.py",
    ]  # fmt: skip


def test_benchmark(tmp_path):
    output = output_of("01_benchmark.py", tmp_path, "--repeats", "2")
    rows: dict[tuple[str, str], list[float]] = {}
    for line in output.splitlines():
        if "±" in line:
            mode, descriptor, *_, error = line.split("±")[0].split()
            rows.setdefault((mode, descriptor), []).append(float(error))
    assert len(rows) == 6
    for (mode, descriptor), curve in rows.items():
        assert len(curve) == 3
        if descriptor != "composition":
            assert curve[0] > curve[1] > curve[2]
            assert curve[0] < rows[mode, "composition"][0]
            assert rows["delta", descriptor][2] < rows["direct", descriptor][2]
    (folder,) = tmp_path.iterdir()
    assert (folder / "learning_curves.png").stat().st_size > 10_000


def test_delta_learning(tmp_path):
    output = output_of("02_delta_learning.py", tmp_path)
    names = ("as it is", "rescaled", "directly", "as correction")
    raw, rescaled, direct, delta = (number_behind(name, output) for name in names)
    assert delta < direct < rescaled < raw
    # 300 left-out errors estimate the error on 300 others within a third.
    assert number_behind("leave-one-out estimate", output) == pytest.approx(delta, rel=0.33)


def test_scikit_learn(tmp_path):
    output = output_of("03_scikit_learn.py", tmp_path)
    assert "best descriptor: EncodedBonds(max_bonds=3)" in output
    # Element counts alone miss the energies of this set by 16 kcal/mol.
    for text in ("5-fold:", "max_bonds=3),", "KRR:", "GPR:"):
        assert 1.0 < number_behind(text, output) < 16.0
    assert 80 <= float(re.search(r"(\d+) % inside", output)[1]) <= 100


def test_error_bars(tmp_path):
    output = output_of("04_error_bars.py", tmp_path)
    assert number_behind("mean absolute error", output) < 6.0
    assert 84 <= float(re.search(r"hold (\d+) %", output)[1]) <= 95
    assert number_behind("miscalibration area", output) < 0.06
    assert number_behind("rank correlation of errors and error bars", output) > 0.2
    assert (tmp_path / "error_bars.png").stat().st_size > 10_000


def test_active_learning(tmp_path):
    output = output_of("05_active_learning.py", tmp_path)
    assert "the budget of 200 labels is used up" in output
    pairs = re.findall(r"labels: chosen ([\d.]+), at random ([\d.]+)", output)
    chosen, at_random = np.array(pairs, dtype=float).T
    assert (np.diff(chosen) < 0).all()
    assert (chosen[1:] < at_random[1:]).all()
    assert (tmp_path / "active_learning.png").stat().st_size > 10_000
    assert (tmp_path / "campaign" / "history.png").stat().st_size > 10_000


def test_adversarial_sampling(tmp_path):
    output = output_of("06_adversarial_sampling.py", tmp_path)
    errors = [float(text) for text in re.findall(r"absolute error ([\d.]+)", output)]
    assert len(errors) == 7
    assert errors[0] > 0.5
    assert errors[-1] < 0.02
    assert (tmp_path / "adversarial_sampling.png").stat().st_size > 10_000
