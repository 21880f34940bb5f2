"""Models whose unit is not one of those in which datasets are loaded."""

import csv
import io
from dataclasses import replace

import numpy as np
from command import runner

from kernchem import KRR, load, save
from kernchem.cli import main
from kernchem.datasets import get_dataset, registry
from kernchem.descriptors import BagOfBonds
from kernchem.kernels import Laplacian

TARGET = "atomization_energy"


def invoke(*arguments):
    return runner().invoke(main, [str(argument) for argument in arguments])


def test_no_energy_is_labelled_with_a_unit_that_it_does_not_have(tmp_path):
    """It is in kcal/mol then; that of a dipole is the user's business."""
    out = tmp_path / "m.kc"
    options = ["--descriptor", "bob", "--n-train", 20, "--no-plot", "-q", "--out", out]
    for target in ("gap", TARGET):
        result = invoke("train", "qm_small", "--target", target, "--unit", "Hartree", *options)
        assert result.exit_code == 2
        assert "--unit Hartree: use one of kcal/mol" in result.stderr
    result = invoke("train", "qm_small", "--target", "mu", "--unit", "debye", *options)
    assert result.exit_code == 0, result.stderr
    assert load(out).model_info_.unit == "debye"


def test_references_in_another_unit_are_not_compared(monkeypatch, tmp_path):
    entry = get_dataset("qm_small")
    loader = entry.loader
    few = replace(entry, loader=lambda *, unit="kcal/mol": loader(unit=unit)[60:70])
    monkeypatch.setitem(registry._REGISTRY, "qm_small", few)
    fitted = KRR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-6, optimizer=None)
    known = loader()[:60]
    fitted.fit(known, known[TARGET])
    model, other = tmp_path / "o.kc", tmp_path / "m.kc"
    save(fitted, model, target=TARGET, unit="Hartree")
    save(fitted, other, target=TARGET, unit="kJ/mol")
    result = invoke("predict", model, "qm_small")
    assert result.exit_code == 0, result.stderr
    assert "the unit of" in result.stderr
    assert "MAE" not in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert "reference" not in rows[0]
    found = [float(row[f"predicted_{TARGET}"]) for row in rows]
    np.testing.assert_allclose(found, fitted.predict(loader()[60:70]))
    result = invoke("predict", model, "qm_small", "--plot", tmp_path / "o.png")
    assert result.exit_code == 2
    assert "leave the option out" in result.stderr
    # A model without a unit is compared with a word.
    save(fitted, model, target=TARGET)
    assert (
        "references are in kcal/mol; the model names no unit"
        in invoke("predict", model, "qm_small").stderr
    )
    # A dataset is loaded in the unit of the model where it has that one.
    result = invoke("predict", other, "qm_small")
    assert "names no unit" not in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    references = [float(row["reference"]) for row in rows]
    np.testing.assert_allclose(references, 4.184 * loader()[60:70][TARGET], rtol=1e-6)
