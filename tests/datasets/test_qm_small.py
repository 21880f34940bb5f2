"""The molecules that come with the package."""

import importlib.util
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kernchem import datasets
from kernchem.datasets import load_qm_small
from kernchem.elements import symbol
from kernchem.errors import DatasetError, SettingError
from kernchem.io import read
from kernchem.structures import Structures
from kernchem.units import energy_factor

ENERGIES = "dft_energy atomization_energy gfn2_energy gfn2_atomization_energy homo lumo gap".split()
DATA = files("kernchem.datasets") / "data"
TOOL = Path(__file__).parents[2] / "tools" / "pack_qm_small.py"


@pytest.fixture(scope="module")
def data():
    return load_qm_small(unit="eV")


def free_atom_energies(level):
    """Return hartree per element, as the generator wrote them."""
    with np.load(DATA / "qm_small.npz") as archive:
        return json.loads(str(archive["meta"]))["reference_energies"][level]


def test_contents(data):
    assert len(data) == 1280
    assert data.elements == (1, 6, 7, 8, 9)
    assert np.bincount(data["heavy"]).tolist() == [0, 4, 9, 41, 181, 637, 380, 28]
    assert data.per_atom == {"q_mulliken", "q_gfn2"}
    assert data["dipole_dft"].shape == data["dipole_gfn2"].shape == (1280, 3)
    assert len(set(data["smiles"])) == len(set(data["id"])) == 1280


def test_the_checked_constructor_accepts_the_arrays(data):
    per_atom = {name: data[name] for name in data.per_atom}
    checked = Structures(
        data.numbers,
        data.positions,
        data.offsets,
        properties={k: v for k, v in data.properties.items() if k not in per_atom},
        atom_properties=per_atom,
    )
    assert list(checked) == list(data)


def test_columns_agree_with_each_other(data):
    heavy = [int(np.sum(item.numbers > 1)) for item in data]
    assert_array_equal(data["heavy"], heavy)
    assert_allclose(data["gap"], data["lumo"] - data["homo"], atol=2e-5)
    assert_allclose(data["mu"], np.linalg.norm(data["dipole_dft"], axis=1), atol=2e-5)
    for name in ("q_mulliken", "q_gfn2"):  # neutral molecules, five decimals per atom
        assert_allclose(np.add.reduceat(data[name], data.offsets[:-1]), 0.0, atol=2e-4)


@pytest.mark.parametrize(("level", "prefix"), [("dft", ""), ("gfn2", "gfn2_")])
def test_atomisation_energies_are_total_energies_minus_free_atoms(data, level, prefix):
    total = data["dft_energy" if level == "dft" else "gfn2_energy"]
    # CODATA 2018, as in the generator.
    atoms = {k: v * 27.211386245988 for k, v in free_atom_energies(level).items()}
    free = [sum(atoms[symbol(z)] for z in item.numbers) for item in data]
    assert_allclose(data[f"{prefix}atomization_energy"], total - free, atol=2e-6)


def test_heavy_atoms_are_those_of_the_smiles(data):
    for smiles, item in zip(data["smiles"], data, strict=True):
        letters = re.findall("[CNOFcno]", re.sub(r"\[([A-Za-z]{1,2})[^]]*\]", r"\1", smiles))
        expected = sorted(letter.upper() for letter in letters)
        assert sorted(symbol(z) for z in item.numbers if z > 1) == expected, smiles


def test_stated_difficulty(data):
    kcal = energy_factor("eV", "kcal/mol")
    y = data["atomization_energy"] * kcal
    counts = np.array([[np.sum(item.numbers == z) for z in data.elements] for item in data])
    delta = y - data["gfn2_atomization_energy"] * kcal
    errors = []
    for target in (y, delta):
        rest = target - counts @ np.linalg.lstsq(counts, target, rcond=None)[0]
        errors.append(np.abs(rest).mean())
    assert y.std() == pytest.approx(240, abs=1)
    assert_allclose(errors, [16.0, 6.4], atol=0.3)


def test_order_is_the_documented_shuffle(data):
    order = np.random.default_rng(0).permutation(1280)
    assert_array_equal(data["id"], np.sort(data["id"])[order])


@pytest.mark.parametrize("unit", ["kcal/mol", "kJ/mol", "Ha", "meV"])
def test_energies_are_converted_and_nothing_else(data, unit):
    other = load_qm_small(unit=unit)
    for name in data.properties:
        if name in ENERGIES:
            assert_array_equal(other[name], data[name] * energy_factor("eV", unit))
        else:
            assert_array_equal(other[name], data[name])


def test_default_unit_and_unknown_unit():
    assert_array_equal(load_qm_small()["gap"], load_qm_small(unit="kcal/mol")["gap"])
    with pytest.raises(SettingError, match="kcal/mol"):
        load_qm_small(unit="kcal")


def test_shipped_file_is_what_the_tool_packs(reference_data, tmp_path):
    spec = importlib.util.spec_from_file_location("pack_qm_small", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    folder = reference_data / "qm_small"
    tool.pack(folder / "qm_small.xyz", folder / "meta.json", tmp_path / "packed.npz")
    with np.load(tmp_path / "packed.npz") as packed, np.load(DATA / "qm_small.npz") as shipped:
        assert packed.files == shipped.files
        for name in packed.files:
            assert packed[name].dtype == shipped[name].dtype
            assert_array_equal(packed[name], shipped[name])


def test_values_are_those_of_the_text(reference_data, data):
    text = read(reference_data / "qm_small" / "qm_small.xyz")
    text = text[np.random.default_rng(0).permutation(1280)]
    assert list(text) == list(data)  # positions to the last bit
    assert set(text.properties) == set(data.properties)
    for name in text.properties:
        assert_array_equal(text[name], data[name], err_msg=name)


def test_file_is_small_and_described():
    assert (DATA / "qm_small.npz").stat().st_size < 700_000
    sheet = (DATA / "qm_small.md").read_text()
    with np.load(DATA / "qm_small.npz") as archive:
        columns = {name.partition(".")[0] for name in archive.files} - {"meta"}
        meta = json.loads(str(archive["meta"]))
    assert all(f"`{name}`" in sheet for name in columns)
    assert all(version in sheet for version in meta["versions"].values())


# -- the registry --------------------------------------------------------------------------------


def test_load_by_name(data):
    assert "qm_small" in datasets.list_datasets()
    loaded = datasets.load("qm_small", unit="eV")
    assert_array_equal(loaded["gap"], data["gap"])
    entry = datasets.get_dataset("qm_small")
    assert entry.n_structures == len(loaded)
    assert {entry.target, entry.baseline} <= set(loaded.properties)


@pytest.mark.parametrize("name", ["qm_smal", "", None, ["qm_small"]])
def test_unknown_dataset_lists_those_there_are(name):
    with pytest.raises(DatasetError, match="qm_small"):
        datasets.load(name)


def test_a_name_is_taken_once(monkeypatch):
    monkeypatch.setattr(datasets.registry, "_REGISTRY", dict(datasets.registry._REGISTRY))
    own = datasets.Dataset("own", load_qm_small, "for this test", 1280, "gap")
    assert datasets.register(own) is own
    assert len(datasets.load("own", unit="eV")) == 1280
    assert datasets.register(own) is own
    with pytest.raises(DatasetError, match="qm_small"):
        datasets.register(datasets.Dataset("qm_small", load_qm_small, "another", 1, "gap"))


def test_whole_numbers_have_one_type(data):
    assert {data[name].dtype for name in ("id", "heavy")} == {np.dtype(np.int64)}
    assert data.numbers.dtype == data.offsets.dtype == np.int64


def test_the_entry_names_what_is_learnt_from_what():
    entry = datasets.get_dataset("qm_small")
    assert (entry.target, entry.baseline) == ("atomization_energy", "gfn2_atomization_energy")


def test_names_are_listed_in_order(monkeypatch):
    packaged = {"qm_small": datasets.get_dataset("qm_small")}
    monkeypatch.setattr(datasets.registry, "_REGISTRY", packaged)
    for name in ("zinc", "amons"):
        datasets.register(datasets.Dataset(name, load_qm_small, "for this test", 1280, "gap"))
    assert datasets.list_datasets() == ["amons", "qm_small", "zinc"]
