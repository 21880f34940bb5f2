"""Energies that do not fit their composition, and programs that are not installed."""

import sys

import numpy as np
import pytest
from fake_baseline import Fake

from kernchem.baselines import AM1, GFN1, GFN2, PM6, PM7, BaselineResult, flag_outliers
from kernchem.datasets import load_qm_small
from kernchem.errors import KernchemError, LabelError, MissingProgramError, SettingError
from kernchem.structures import Structures


@pytest.fixture(scope="module")
def data():
    return load_qm_small()[:300]


def naive(energies, structures, threshold):
    """One fit and one look, by the definition."""
    elements = np.unique(structures.numbers)
    counts = np.array([[(item.numbers == z).sum() for z in elements] for item in structures])
    residuals = energies - counts @ np.linalg.lstsq(counts, energies, rcond=None)[0]
    distances = np.abs(residuals - np.median(residuals))
    return distances > threshold * 1.4826 * np.median(distances)


@pytest.mark.parametrize("threshold", [6.0, 2.0])
def test_first_look(data, threshold):
    energies = data["gfn2_energy"]
    flagged = flag_outliers(energies, data, threshold)
    expected = naive(energies, data, threshold)
    assert expected.any() == (threshold == 2.0)
    # Later fits only add to the first.
    assert (flagged | expected == flagged).mean() > 0.98
    assert not flag_outliers(energies, data).any()


def test_absurd_energies_do_not_hide_one_another(data):
    energies = data["gfn2_energy"].copy()
    energies[[3, 50]] += [1e6, -700.0]
    energies[7] = np.nan
    assert np.flatnonzero(flag_outliers(energies, data)).tolist() == [3, 50]
    result = BaselineResult(energies, ("",) * 300)
    assert np.flatnonzero(flag_outliers(result, data.to_ase())).tolist() == [3, 50]


def test_too_few_to_judge(data):
    energies = data["gfn2_energy"][:40].copy()
    energies[3] += 1e6
    assert not flag_outliers(energies, data[:40]).any()
    assert flag_outliers(np.zeros(0), data[:0]).shape == (0,)


def test_repeated_structures():
    same = Structures([1] * 60, np.zeros((60, 3)), np.arange(61))
    energies = np.full(60, -300.0)
    energies[0] += 1e-9
    energies[1] += 1.0
    assert np.flatnonzero(flag_outliers(energies, same)).tolist() == [1]


def test_bad_arguments(data):
    with pytest.raises(LabelError, match="not one number for each"):
        flag_outliers(np.zeros(3), data)
    for wrong in (["a"] * len(data), [[1.0], [1.0, 2.0]], np.ones(len(data)) * 1j):
        with pytest.raises(LabelError, match="not one number for each"):
            flag_outliers(wrong, data)
    with pytest.raises(SettingError, match="threshold=0"):
        flag_outliers(np.zeros(300), data, 0)


def test_outliers_are_noted_and_keep_their_energy(tmp_path):
    positions = np.zeros((40, 2, 3))
    positions[:, 1, 2] = 2.0 + 0.01 * np.arange(40)
    positions[9, 1, 2] = 30.0
    molecules = Structures.from_arrays(np.ones((40, 2), int), positions)
    result = Fake(tmp_path / "log").compute(molecules)
    assert result.ok.all()
    assert [k for k, note in enumerate(result.notes) if note] == [9]
    assert "robust deviations from what the element counts say" in result.notes[9]


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [
        (GFN1, "tblite", "xtb"),
        (GFN2, "tblite", "xtb"),
        (AM1, "mopactools", "mopac"),
        (PM6, "mopactools", "mopac"),
        (PM7, "mopactools", "mopac"),
    ],
)
def test_a_program_that_is_not_installed(data, monkeypatch, make, package, extra):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingProgramError) as caught:
        make().compute(data[:2])
    told = str(caught.value)
    assert told.startswith(f"{make.__name__} needs the package {package} (")
    assert told.endswith(f'type: pip install "kernchem[{extra}]"')
    assert "\n" not in told
    assert isinstance(caught.value, KernchemError)
    assert isinstance(caught.value, ImportError)
