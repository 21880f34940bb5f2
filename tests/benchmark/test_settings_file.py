"""Settings files against the same objects, made in Python."""

import pytest

from kernchem.benchmark import learning_curves
from kernchem.benchmark.candidates import list_candidates, model_settings
from kernchem.benchmark.settings_file import read_settings
from kernchem.datasets import load_qm_small
from kernchem.descriptors import FCHL19, SLATM, BagOfBonds, CoulombMatrix, EncodedBonds
from kernchem.errors import SettingError
from kernchem.kernels import AtomSum, Average, Gaussian, Matern, Polynomial
from kernchem.models import GPR, KRR, Term

TARGET = "atomization_energy"


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "model.toml"
        path.write_text(text, encoding="utf-8")
        return read_settings(path)

    return read_text


def same(found, expected):
    assert type(found) is type(expected)
    assert repr(found.get_params()) == repr(expected.get_params())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('descriptor = "bob"', BagOfBonds()),
        ('[descriptor]\nname = "BagOfBonds"', BagOfBonds()),
        ('[descriptor]\nname = "encoded-bonds-3"', EncodedBonds(max_bonds=3)),
        ('[descriptor]\nname = "cm"\nsize = 30', CoulombMatrix(size=30)),
        ('[descriptor]\nname = "aslatm"\nr_cut = 4.0', SLATM(per_atom=True, r_cut=4.0)),
        ('[descriptor]\nname = "FCHL19"\nelements = ["H", "C"]', FCHL19(elements=["H", "C"])),
    ],
)
def test_descriptors(read, text, expected):
    settings = read(text)
    same(settings.descriptor, expected)
    assert settings.kernel == "auto"
    assert settings.estimator_settings() == {}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("bob", 'kernel = "matern32"', Matern(nu=1.5)),
        ("bob", '[kernel]\nname = "gaussian"\nlength_scale = 3.0', Gaussian(3.0)),
        ("bob", '[kernel]\nname = "Polynomial"\ndegree = 3', Polynomial(3)),
        ("acm", 'kernel = "atom-sum"', AtomSum(Gaussian())),
        ("acm", 'kernel = "AtomSum"', AtomSum(Gaussian())),
        (
            "acm",
            '[kernel]\nname = "average"\ncoupling = {C-N = 0.5}\nbase = {name = "polynomial"}',
            Average(Polynomial(), coupling={"C-N": 0.5}),
        ),
    ],
)
def test_kernels(read, name, text, expected):
    settings = read(f'descriptor = "{name}"\n{text}' if text[0] != "[" else
                    f"{text}\n[descriptor]\nname = '{name}'")  # fmt: skip
    same(settings.kernel, expected)


def test_a_product_of_kernels(read):
    settings = read(
        """
        [[term]]
        weight = 0.5
        factors = [{descriptor = "bob", width = 2.0}, {descriptor = {name = "slatm", r_cut = 3.0}}]
        [[term]]
        descriptor = "cm"
        """
    )
    product, single = settings.descriptor.terms
    first, second = product.factors
    same(first.descriptor, BagOfBonds())
    same(second.descriptor, SLATM(r_cut=3.0))
    same(single.descriptor, CoulombMatrix())
    assert (product.weight, first.width, second.width) == (0.5, 2.0, None)


def test_terms_alpha_and_criterion(read):
    settings = read(
        """
        alpha = 1e-6
        criterion = "rmse"
        [[term]]
        descriptor = {name = "fchl19", r_cut = 4.0}
        kernel = {name = "atom-sum", base = "gaussian", coupling = "heavy"}
        weight = 2
        width = 2.0
        [[term]]
        descriptor = "bob"
        """
    )
    assert settings.estimator_settings() == {"alpha": 1e-6, "criterion": "rmse"}
    first, second = settings.descriptor.terms
    same(first.descriptor, FCHL19(r_cut=4.0))
    same(first.kernel, AtomSum(Gaussian(), coupling="heavy"))
    same(second.descriptor, BagOfBonds())
    assert (first.weight, first.width, second.weight, second.width) == (2, 2.0, 1.0, None)
    assert second.kernel is None


def test_a_process(read):
    settings = read('model = "gpr"\nalpha = "loo"\ndescriptor = "bob"')
    assert settings.estimator_settings() == {"model": "gpr", "alpha": "loo"}
    candidate = list_candidates([settings.descriptor], [settings.kernel])[1]
    made = candidate.estimator(None, **model_settings("gpr", {"alpha": "loo"}))
    assert isinstance(made, GPR)
    assert made.alpha == "fit"
    same(made.descriptor, BagOfBonds())
    delta = candidate.estimator("cheap", **model_settings("gpr", {"composition": False}))
    assert (delta.baseline, delta.model.composition) == ("cheap", False)
    assert isinstance(candidate.estimator(None, **model_settings("krr", {})), KRR)


def test_a_recipe_by_its_name(read):
    assert read('descriptor = "composite"').descriptor == "composite"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("descriptor = ", "is no TOML file"),
        ("", r"neither a table \[descriptor\] nor \[\[term\]\]"),
        ("descriptors = 3", "unknown key 'descriptors'; use descriptor, kernel, term, alpha"),
        ("descriptor = 3", "descriptor: name = int 3 is no name"),
        ('descriptor = "sopa"', "descriptor: there is no 'sopa'; use cm, .*fchl19.*composite"),
        ('descriptor = "Descriptor"', "there is no 'Descriptor'"),
        ('descriptor = "__class__"', "there is no '__class__'"),
        (
            '[descriptor]\nname = "cm"\nr_cut = 3',
            "descriptor cm: unknown key 'r_cut'; use name, .*size",
        ),
        ('[descriptor]\nname = "composite"\nr_cut = 3', "'r_cut'; use no key but name"),
        ('descriptor = "composite"\nkernel = "gaussian"', "composite brings its own"),
        ('descriptor = "bob"\nkernel = "cubic"', "kernel: there is no 'cubic'; use gaussian"),
        ('descriptor = "bob"\nkernel = "rematch"', "kernel: .* gives features of whole"),
        ('descriptor = "acm"\n[kernel]\nname = "atom-sum"\nbase = "cubic"', "kernel, base: there"),
        ('descriptor = "bob"\n[kernel]\nname = "gaussian"\nsigma = 1', "unknown key 'sigma'"),
        ('descriptor = "bob"\nalpha = -1', "alpha = int -1; use a positive number or 'loo'"),
        ('descriptor = "bob"\nalpha = [1]', "alpha = "),
        ('descriptor = "bob"\ncriterion = "r2"', "criterion = .*; use one of mae, rmse"),
        ('descriptor = "bob"\nmodel = "svm"', "'svm' is unknown; use krr or gpr"),
        ('descriptor = "bob"\nmodel = 1', "int 1 is unknown"),
        ('descriptor = "bob"\nmodel = "gpr"\ncriterion = "mae"', "criterion is a setting of krr"),
        ('descriptor = "bob"\nmodel = "krr"\nalpha = "fit"', "alpha 'fit' is a word of gpr"),
        ("term = 3", "term must be tables"),
        ("term = [3]", r"term 1 = int 3 is no table; write \[\[term\]\]"),
        ('descriptor = "cm"\n[[term]]\ndescriptor = "bob"', "excludes"),
        ("[[term]]\nfactors = []", "term 1, factors = .* is no list of tables"),
        ("[[term]]\nfactors = 3", "term 1, factors = .* is no list of tables"),
        ('[[term]]\nfactors = ["bob"]', "term 1, factor 1 = .* is no table"),
        ('[[term]]\nfactors = [{kernel = "gaussian"}]', "term 1, factor 1 has no descriptor"),
        ('[[term]]\nfactors = [{descriptor = "bob"}]\nwidth = 2', "term 1: unknown key 'width'"),
        ('[[term]]\nkernel = "gaussian"', "term 1 has no descriptor; use cm"),
        ('[[term]]\ndescriptor = "bob"\nwide = 1', "term 1: unknown key 'wide'; use descriptor"),
        ('[[term]]\ndescriptor = "composite"', "term 1, descriptor: there is no 'composite'"),
        ('[[term]]\ndescriptor = "bob"\nweight = 0', "term 1: weight=0"),
        *(
            (f'[[term]]\nfactors = [{{descriptor = "bob"}}]\nweight = {weight}', "term 1: weight=")
            for weight in ('"x"', '"3"', "[1]", "-1.0", "0.0", "nan", "inf", "true")
        ),
        ('[[term]]\ndescriptor = "bob"\nkernel = "linear"\nwidth = 1.0', "needs a kernel with one"),
    ],
)
def test_errors_name_file_key_and_what_is_allowed(read, text, message):
    with pytest.raises(SettingError, match=message) as caught:
        read(text)
    assert "model.toml" in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match="is no TOML file"):
        read_settings(tmp_path / "model.toml")


# -- candidates -----------------------------------------------------------------------------------


def test_kernels_of_terms_are_their_own():
    terms = Term(BagOfBonds()) + 2.0 * Term(CoulombMatrix(), "gaussian", width=3.0)
    found = list_candidates(["composite", terms, "bob"], ["auto", "gaussian"])[1:]
    assert [candidate.kernel for candidate in found] == ["terms", "terms", "laplacian", "gaussian"]
    assert found[0].descriptor == "composite"
    assert found[1].descriptor == (
        "1 laplacian of BagOfBonds() + 2 gaussian (width 3) of CoulombMatrix()"
    )
    model = found[1].estimator(None, alpha=1e-5)
    assert (model.kernel, model.descriptor, model.alpha) == (terms, None, 1e-5)
    product = list_candidates(Term(BagOfBonds()) * Term(CoulombMatrix()), "auto")[1]
    assert product.descriptor == "1 1 laplacian of BagOfBonds() * 1 laplacian of CoulombMatrix()"


def test_names_of_kernels_between_structures():
    found = list_candidates("fchl19", ["auto", "rematch", "average-gaussian", "best-match"])[1:]
    assert [candidate.kernel for candidate in found] == [
        "gaussian", "rematch", "average-gaussian", "best-match",
    ]  # fmt: skip
    same(found[2].parts[1], Average(Gaussian()))
    with pytest.raises(SettingError, match="gives features of whole structures"):
        list_candidates(["cm"], ["rematch"])
    with pytest.raises(SettingError, match="need a kernel between structures"):
        list_candidates(["fchl19"], [Gaussian()])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slatm", "aslatm", "fchl19", "soap", "acsf", "wacsf", "acm"])
def test_every_name_learns(name):
    data = load_qm_small()[:40]
    record = learning_curves(
        data, TARGET, descriptors=name, sizes=[25], test_size=10, repeats=1
    ).records[-1]
    assert record["failure"] is None
    assert 0 < record["mae"] < 200


def test_alpha_and_criterion_reach_every_model():
    data = load_qm_small()[:30]
    curves = learning_curves(
        data, TARGET, descriptors=["cm", Term(CoulombMatrix())], sizes=[20], test_size=10,
        repeats=1, alpha=1e-3,
    )  # fmt: skip
    assert [record["alpha"] for record in curves.records] == [None, 1e-3, 1e-3]
    assert curves.run["settings"]["alpha"] == 1e-3
