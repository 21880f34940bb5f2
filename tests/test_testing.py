"""The contract checks themselves: each promise that is broken is found, and none that is kept."""

import copy
import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.spatial.distance import cdist, pdist
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    ExpSineSquared,
    Hyperparameter,
    Kernel,
    Matern,
    NormalizedKernelMixin,
    RationalQuadratic,
    StationaryKernelMixin,
    Sum,
    WhiteKernel,
)
from sklearn.preprocessing import StandardScaler

import kernchem
from kernchem.descriptors import Descriptor
from kernchem.environments import Environments
from kernchem.errors import LayoutError, SettingError, StructureError
from kernchem.kernels import RadialKernel
from kernchem.structure import Structure
from kernchem.structures import Structures, as_structures
from kernchem.testing import check_descriptor, check_kernel
from kernchem.testing.contract import require_close, require_promises


def test_is_a_public_module():
    assert kernchem.testing.check_descriptor is check_descriptor
    assert kernchem.testing.__all__ == ["check_descriptor", "check_kernel"]


def names_of(cases):
    return [(what if isinstance(what, type) else type(what)).__name__ for what, *_ in cases]


# -- descriptors that keep every promise ----------------------------------------------------------


class PairSums(Descriptor):
    """Sums of r^-power over the pairs of atoms of each pair of elements: no layout, no threads."""

    citation = "A thesis."
    recommended_kernel = "laplacian"

    def __init__(self, power=1.0):
        self.power = power

    def _learn(self, structures):
        self.pairs_ = list(itertools.combinations_with_replacement(self.elements_, 2))
        self.n_features_out_ = len(self.pairs_)

    def _compute(self, structures):
        features = [self._features(one.numbers, one.positions) for one in structures]
        return np.array(features).reshape(len(structures), self.n_features_out_)

    def _features(self, numbers, positions):
        i, j = np.triu_indices(len(numbers), 1)
        low, high = np.sort([numbers[i], numbers[j]], axis=0)
        values = pdist(positions) ** -float(self.power)
        return [values[(low == a) & (high == b)].sum() for a, b in self.pairs_]

    def _feature_names(self):
        return [f"{a}-{b}" for a, b in self.pairs_]


class SortedDistances(Descriptor):
    """All inverse distances in descending order, padded with zeros: a layout, and threads."""

    citation = "A thesis."
    recommended_kernel = "gaussian"

    def __init__(self, n_jobs=None):
        self.n_jobs = n_jobs

    def _learn(self, structures):
        self.n_features_out_ = self._needed(structures)

    def _needed(self, structures):
        largest = structures.sizes.max(initial=0)
        return int(largest * (largest - 1) // 2)

    def _require_fit(self, structures):
        if self._needed(structures) > self.n_features_out_:
            raise LayoutError(f"structure {structures.sizes.argmax()} is too large")

    def _compute(self, structures):
        out = np.zeros((len(structures), self.n_features_out_))
        for row, one in zip(out, structures, strict=True):
            values = np.sort(1.0 / pdist(one.positions))[::-1]
            row[: len(values)] = values
        return out

    def _feature_names(self):
        return [f"1/r[{k}]" for k in range(self.n_features_out_)]

    def _widen(self, structures):
        columns = np.arange(self.n_features_out_)
        if self._needed(structures) <= len(columns):
            return self, columns
        wider = copy.copy(self)
        wider.n_features_out_ = self._needed(structures)
        return wider, columns


class AtomSums(PairSums):
    """Sums of r^-power from each atom to those of each element."""

    local = True

    def _learn(self, structures):
        self.n_features_out_ = len(self.elements_)

    def _compute(self, structures):
        rows = [self._of_atoms(one.numbers, one.positions) for one in structures]
        values = np.concatenate([np.zeros((0, self.n_features_out_)), *rows])
        return Environments(values, structures.numbers, structures.offsets)

    def _of_atoms(self, numbers, positions):
        distances = cdist(positions, positions)
        np.fill_diagonal(distances, np.inf)
        terms = distances ** -float(self.power)
        return np.stack([terms[:, numbers == z].sum(axis=1) for z in self.elements_], axis=1)

    def _feature_names(self):
        return [str(z) for z in self.elements_]


class OneMolecule(PairSums):
    """Distances in the order of the atoms, for frames of one molecule."""

    def _learn(self, structures):
        self.n_features_out_ = len(pdist(structures[0].positions))

    def _features(self, numbers, positions):
        return pdist(positions)

    def _feature_names(self):
        return [f"r[{k}]" for k in range(self.n_features_out_)]


class Crystals(PairSums):
    """Takes periodic structures, whose images it does not look at."""

    periodic = True


@pytest.fixture(scope="module")
def frames():
    atoms = molecule("CH3OH")
    shift = np.random.default_rng(0).normal(0.0, 0.05, (5, len(atoms), 3))
    return Structures.from_arrays(atoms.numbers, atoms.positions + shift)


@pytest.mark.parametrize("cls", [PairSums, SortedDistances, AtomSums, Crystals])
def test_good_descriptors_pass(cls, capsys):
    assert check_descriptor(cls()) is None
    assert capsys.readouterr() == ("", "")


def test_a_class_is_no_descriptor():
    with pytest.raises(SettingError, match=r"the class PairSums; pass an object.* PairSums\(\)"):
        check_descriptor(PairSums)


def test_good_descriptors_pass_on_other_molecules(frames):
    water = [molecule(name) for name in ("H2O", "H2O2", "H2", "O2")]
    for structures in (frames, frames.to_ase(), water):
        check_descriptor(PairSums(power=2.0), structures)
        check_descriptor(SortedDistances(), structures)
    check_descriptor(OneMolecule(), frames, permutable=False)
    check_descriptor(Crystals(), Structures(frames.numbers, frames.positions, frames.offsets,
                     cells=np.tile(50.0 * np.eye(3), (5, 1, 1)), pbc=np.ones((5, 3))))  # fmt: skip


def test_atoms_on_their_own_have_no_distances():
    check_descriptor(SortedDistances(), [molecule(name) for name in ("O2", "H", "H2O", "H2O2")])


def test_elements_may_be_all_that_there_are():
    class All(SortedDistances):
        def _learn(self, structures):
            super()._learn(structures)
            self.elements_ = tuple(range(1, 119))

    check_descriptor(All(), [molecule("H2O"), molecule("H2O2"), molecule("CH3OH")])


def test_one_structure_is_too_few(frames):
    with pytest.raises(StructureError, match="given 1 structures; give at least two"):
        check_descriptor(PairSums(), frames[:1])


# -- descriptors that break one promise -----------------------------------------------------------


class NoCitation(PairSums):
    citation = ""


class ChangesArgument(PairSums):
    def __init__(self, power=1):
        self.power = float(power)


class ReplacesDefault(PairSums):
    def __init__(self, power=None):
        self.power = 1.0 if power is None else power


class StoresElsewhere(PairSums):
    def __init__(self, power=1.0):
        self.exponent = power


class CopiesArgument(PairSums):
    def __init__(self, power=1.0, labels=None):
        self.power = power
        self.labels = None if labels is None else list(labels)


class FitChangesArgument(PairSums):
    def _learn(self, structures):
        super()._learn(structures)
        self.power = self.power + 1.0


class NeverUnfitted(PairSums):
    n_features_out_ = 0
    elements_ = (1, 6, 7, 8)
    pairs_ = ()


class TransformsUnfitted(PairSums):
    def transform(self, X):
        if not hasattr(self, "pairs_"):
            self.fit(X)
        return super().transform(X)


class NamesUnfitted(PairSums):
    def get_feature_names_out(self, input_features=None):
        return np.array(self._feature_names() if hasattr(self, "pairs_") else [], dtype=object)


class FitsNothing(PairSums):
    def fit(self, X, y=None):
        return self if len(X) == 0 else super().fit(X)


class FitsNumbers(PairSums):
    def fit(self, X, y=None):
        return self if isinstance(X, np.ndarray) else super().fit(X)


class FitReturnsNothing(PairSums):
    def fit(self, X, y=None):
        super().fit(X)


class SinglePrecision(PairSums):
    def _compute(self, structures):
        return super()._compute(structures).astype(np.float32)


class ReturnsAList(PairSums):
    def _compute(self, structures):
        return super()._compute(structures).tolist()


class NotFinite(PairSums):
    def _features(self, numbers, positions):
        values = super()._features(numbers, positions)
        return [np.nan if value == 0 else value for value in values]


class TooFewNames(PairSums):
    def _feature_names(self):
        return super()._feature_names()[1:]


class SameNames(PairSums):
    def _feature_names(self):
        return ["sum" for _ in self.pairs_]


class WrongCount(PairSums):
    def _learn(self, structures):
        super()._learn(structures)
        self.n_features_out_ += 1

    def _compute(self, structures):
        return np.array([self._features(one.numbers, one.positions) for one in structures])


class NothingIsWrong(PairSums):
    def _compute(self, structures):
        return super()._compute(structures) if len(structures) else np.zeros((0, 1))


class ForgetsElements(PairSums):
    def fit(self, X, y=None):
        super().fit(X)
        self.elements_ = (1, 6)
        return self

    def _require_known_elements(self, structures):
        pass


class NotLocal(AtomSums):
    local = False


class OtherNumbers(AtomSums):
    def _compute(self, structures):
        out = super()._compute(structures)
        return Environments(out.values, out.numbers[::-1], out.offsets)


class WritesToStructures(PairSums):
    def _compute(self, structures):
        if len(structures):
            structures.positions[0] += 1.0
        return super()._compute(structures)


class ReplacesPositions(PairSums):
    def _compute(self, structures):
        features = super()._compute(structures)
        structures.positions = structures.positions + 1.0
        return features


class MovesAtoms(PairSums):
    def transform(self, X):
        if isinstance(X, list):
            for atoms in X:
                atoms.center()
        return super().transform(X)


class LearnsOnce(PairSums):
    def _learn(self, structures):
        if not hasattr(self, "scale_"):
            self.scale_ = len(structures)
        super()._learn(structures)

    def _compute(self, structures):
        return super()._compute(structures) * self.scale_


class OtherFitTransform(PairSums):
    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X) * 2.0


class LosesItsState(SortedDistances):
    def __getstate__(self):
        return {"n_jobs": self.n_jobs}


class KeepsALambda(PairSums):
    def _learn(self, structures):
        super()._learn(structures)
        self.function_ = lambda x: x


class CloneIsFitted(PairSums):
    def __sklearn_clone__(self):
        return copy.copy(self)


class CloneIsAnother(PairSums):
    def __sklearn_clone__(self):
        return type(self)(2.0 * self.power)


class TransformsOneByAnotherRule(PairSums):
    def transform(self, X):
        return super().transform(X) * (2.0 if isinstance(X, Structure) else 1.0)


class Remembers(PairSums):
    def _compute(self, structures):
        self.singles_ = getattr(self, "singles_", 0) + (len(structures) == 1)
        return super()._compute(structures) * (1.0 + (self.singles_ > 31) * (len(structures) > 1))


class TransformsListsByAnotherRule(PairSums):
    def transform(self, X):
        return super().transform(X) * (2.0 if isinstance(X, list) else 1.0)


class LearnsAnotherRuleFromLists(PairSums):
    def fit(self, X, y=None):
        self.scale_ = 2.0 if isinstance(X, list) else 1.0
        return super().fit(X)

    def _compute(self, structures):
        return super()._compute(structures) * self.scale_


class OneAtomsIsTwoAtoms(PairSums):
    def transform(self, X):
        return super().transform(X[:2] if isinstance(X, Atoms) else X)


class Centred(PairSums):
    def _compute(self, structures):
        features = super()._compute(structures)
        return features - features.mean(axis=0) if len(features) else features


class FirstPanelOnly(PairSums):
    def _compute(self, structures):
        features = super()._compute(structures)
        features[256:] = 0.0
        return features


class RacesOfThreads(SortedDistances):
    def _compute(self, structures):
        return super()._compute(structures) * (1.0 + 1e-15 * (self.n_jobs == 2))


class SeesPosition(PairSums):
    def _features(self, numbers, positions):
        return super()._features(numbers, positions + 1e-9 * positions[0] * numbers[:, None])


class SeesOrientation(PairSums):
    def _features(self, numbers, positions):
        return super()._features(numbers, positions * [1.0, 1.0, 1.01])


class SeesHandedness(AtomSums):
    def _of_atoms(self, numbers, positions):
        values = super()._of_atoms(numbers, positions)
        arms = positions - (numbers @ positions) / numbers.sum()
        axis = np.cross((numbers**2) @ arms, (numbers * (arms**2).sum(axis=1)) @ arms)
        return values + 0.1 * (arms @ axis)[:, None]


class SeesOrder(PairSums):
    def _features(self, numbers, positions):
        bonds = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        return super()._features(numbers, positions) + 1e-6 * bonds.sum()


class SortsAtoms(AtomSums):
    def _of_atoms(self, numbers, positions):
        return np.sort(super()._of_atoms(numbers, positions), axis=0)


class SeesElementsOnly(PairSums):
    def _features(self, numbers, positions):
        return super()._features(numbers, np.eye(len(numbers)))


class NamelessRefusal(SortedDistances):
    def _require_fit(self, structures):
        if self._needed(structures) > self.n_features_out_:
            raise LayoutError("a molecule is too large")


class NeverWidens(SortedDistances):
    def _widen(self, structures):
        return self, np.arange(self.n_features_out_)


class AlwaysWidens(PairSums):
    def _widen(self, structures):
        return copy.copy(self), np.arange(self.n_features_out_)


class WidensWhatItHolds(SortedDistances):
    def _widen(self, structures):
        wider, columns = super()._widen(structures)
        return copy.copy(wider), columns


class WidensForLargerOnes(PairSums):
    def _learn(self, structures):
        super()._learn(structures)
        self.largest_ = structures.sizes.max()

    def _widen(self, structures):
        needed = structures.sizes.max(initial=0) > self.largest_
        return copy.copy(self) if needed else self, np.arange(self.n_features_out_)


class WrongColumns(SortedDistances):
    def _widen(self, structures):
        wider, columns = super()._widen(structures)
        return wider, columns if wider is self else columns + 1


class MarksWider(SortedDistances):
    """Knows whether it was widened."""

    wide_ = False

    def _widen(self, structures):
        wider, columns = super()._widen(structures)
        if wider is not self:
            wider.wide_ = True
            self._after_widening()
        return wider, columns

    def _after_widening(self):
        pass


class ScalesWhatIsWide(MarksWider):
    def _compute(self, structures):
        return super()._compute(structures) * (2.0 if self.wide_ else 1.0)


class PadsWithOnes(MarksWider):
    def _compute(self, structures):
        features = super()._compute(structures)
        if self.wide_:
            features[:, -1] += 1.0
        return features


class WidensToNothing(MarksWider):
    def _compute(self, structures):
        features = super()._compute(structures)
        if self.wide_:
            features[structures.sizes > 8] = np.nan
        return features


class ForgetsItsScale(MarksWider):
    scale_ = 1.0

    def _after_widening(self):
        self.scale_ = 2.0

    def _compute(self, structures):
        return super()._compute(structures) * self.scale_


class ForgetsItsLimit(MarksWider):
    refuses_ = True

    def _after_widening(self):
        self.refuses_ = False

    def _require_fit(self, structures):
        if self.refuses_:
            super()._require_fit(structures)

    def _compute(self, structures):
        features = [np.sort(1.0 / pdist(one.positions))[::-1] for one in structures]
        out = np.zeros((len(structures), self.n_features_out_))
        for row, values in zip(out, features, strict=True):
            row[: len(values)] = values[: len(row)]
        return out


class WidensItself(SortedDistances):
    def _widen(self, structures):
        wider, columns = super()._widen(structures)
        self.n_features_out_ = wider.n_features_out_
        return wider, columns


class LosesNames(SortedDistances):
    def _feature_names(self):
        return [f"1/r[{k - self.n_features_out_}]" for k in range(self.n_features_out_)]


class TakesAnyElement(PairSums):
    def _require_known_elements(self, structures):
        pass


class TakesCrystals(PairSums):
    def _accepted(self, X):
        return as_structures(X)


class SeesBoxes(PairSums):
    def _compute(self, structures):
        return super()._compute(structures) * (1.0 if structures.cells is None else 2.0)


class UnknownKernel(PairSums):
    recommended_kernel = "best"


class ForgetsItsFit(PairSums):
    def fit_transform(self, X, y=None):
        features = self.fit(X).transform(X)
        return features if y is None else features * 2.0


DESCRIPTORS = [
    (StandardScaler, "is a Descriptor.*does not derive"),
    (NoCitation, "with a citation.*citation is '' and not a text"),
    (ChangesArgument, "stores its arguments.*power=1 became 1.0"),
    (ReplacesDefault, "stores its arguments.*power=None became 1.0"),
    (StoresElsewhere, "stores its arguments.*AttributeError was raised: .*'power'"),
    (
        CopiesArgument(labels=[1]),
        r"stores its arguments.*labels=\[1\] became \[1\], another object",
    ),
    (FitChangesArgument, "fit leaves them alone.*power=1.0 became 2.0"),
    (NeverUnfitted, "raises NotFittedError before fit.*no NotFittedError was raised"),
    (TransformsUnfitted, "raises NotFittedError before fit.*no NotFittedError was raised"),
    (NamesUnfitted, "raises NotFittedError before fit.*no NotFittedError was raised"),
    (FitsNothing, "wants at least one molecule.*no StructureError was raised"),
    (FitsNumbers, "wants at least one molecule.*no StructureError was raised"),
    (FitReturnsNothing, "before fit, and.*fit does not return the descriptor"),
    (SinglePrecision, "finite row of float64.*of type float32"),
    (ReturnsAList, "finite row of float64.*returned list where local=False"),
    (NotFinite, r"finite row.*structure 0 \(H2O\), feature 1-6 is nan"),
    (TooFewNames, "a name per column.*9 names for 10 columns"),
    (SameNames, "a name per column.*two columns have the same name"),
    (WrongCount, r"finite row.*features are \(16, 10\) where \(16, 11\) was expected"),
    (NothingIsWrong, r"finite row.*features of no molecules are \(0, 1\)"),
    (ForgetsElements, r"finite row.*elements_ is \(1, 6\) after a fit on \(1, 6, 7, 8\)"),
    (NotLocal, "finite row.*returned Environments where local=False stands for ndarray"),
    (OtherNumbers, "finite row.*the numbers of the environments"),
    (WritesToStructures, "ValueError was raised: .*read-only"),
    (ReplacesPositions, "molecules are not changed.*the Structures were changed"),
    (MovesAtoms, "molecules are not changed.*the ase.Atoms were changed"),
    (LearnsOnce, r"forgets what.*\(after fit on other molecules\) is .* every bit must agree"),
    (OtherFitTransform, r"fit_transform is fit and.*\(by fit_transform\)"),
    (LosesItsState, "pickled copy is fitted.*NotFittedError was raised"),
    (KeepsALambda, "pickled copy is fitted.*was raised: .*pickle"),
    (CloneIsFitted, "a clone is not.*no NotFittedError was raised"),
    (CloneIsAnother, r"a clone is not, and.*\(of the clone\)"),
    (TransformsOneByAnotherRule, r"that it has in a batch.*\(of one structure\)"),
    (Remembers, r"that it has in a batch.*\(after transform of others\)"),
    (TransformsListsByAnotherRule, r"ase.Atoms, one.*\(of a list\)"),
    (LearnsAnotherRuleFromLists, r"ase.Atoms, one.*\(after fit on a list\)"),
    (OneAtomsIsTwoAtoms, r"ase.Atoms, one.*\(of one ase.Atoms\)"),
    (Centred, r"that it has in a batch.*structure \d+ .*\(of a batch of one\)"),
    (FirstPanelOnly, r"nor on the number of mol.*structure \d+ .*among 304 molecules\) is 0 "),
    (RacesOfThreads, r"neither on n_jobs.*among 304 molecules, with n_jobs=2\).*every bit"),
    (SeesPosition, r"Translation, .*feature .* \(translated\).* and at most .* is allowed"),
    (SeesOrientation, r"Translation, .*\((rotated|reflected).*"),
    (SeesHandedness, r"Translation, .*, atom \d+, feature \d+ \(reflected\)"),
    (SeesOrder, r"order of the atoms.*structure \d+ \(.*\(with atoms in another order\)"),
    (SortsAtoms, r"rows of atoms follow.*, atom \d+, feature"),
    (SeesElementsOnly, r"stretched.*structure 0 \(H2O\): no feature changes by more than 0"),
    (NamelessRefusal, "refused by name.*names no structure, but: a molecule is too large"),
    (NeverWidens, "refused by name.*widened returned the descriptor that does not hold"),
    (AlwaysWidens, "refused by name.*widened changes a descriptor that holds"),
    (WidensWhatItHolds, "refused by name.*widened changes a descriptor that holds"),
    (WidensForLargerOnes, "refused by name.*widened changes a descriptor that holds"),
    (WrongColumns, r"columns of zeros only.*\(widened\) is .* where .* was expected"),
    (ScalesWhatIsWide, r"columns of zeros only.*\(widened\) is .* where .* was expected"),
    (WidensToNothing, "columns of zeros only.*features of the larger ones are not finite"),
    (ForgetsItsScale, r"columns of zeros only.*\(later\) is .* where .* was expected"),
    (ForgetsItsLimit, "columns of zeros only.*no LayoutError was raised"),
    (PadsWithOnes, r"columns of zeros only.*feature 1/r\[\d+\] \(widened\) is 1 where 0"),
    (WidensItself, "columns of zeros only.*widened changed the descriptor"),
    (LosesNames, "columns of zeros only.*the names did not move along"),
    (TakesAnyElement, "absent in fit is refused.*no UnknownElementError was raised"),
    (TakesCrystals, "periodic structure is refused.*no StructureError was raised"),
    (SeesBoxes, r"a box without periodicity does not count.*\(in a box\)"),
    (UnknownKernel, "name of a kernel that suits.*is 'best', which is none of gaussian, "),
    (ForgetsItsFit, "agrees with a pipeline.*the prediction of structure"),
]


@pytest.mark.parametrize(("descriptor", "message"), DESCRIPTORS, ids=names_of(DESCRIPTORS))
def test_broken_descriptors_fail(descriptor, message):
    name = names_of([(descriptor,)])[0]
    with pytest.raises(AssertionError, match=f"^{name} breaks a promise.*{message}"):
        check_descriptor(descriptor() if isinstance(descriptor, type) else descriptor)


# -- kernels that keep every promise --------------------------------------------------------------


class Cauchy(StationaryKernelMixin, NormalizedKernelMixin, Kernel):
    """1 / (1 + |x - y|^2 / length_scale^2), as one would write it for scikit-learn."""

    def __init__(self, length_scale=2.0, length_scale_bounds=(1e-5, 1e5)):
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    @property
    def hyperparameter_length_scale(self):
        return Hyperparameter("length_scale", "numeric", self.length_scale_bounds)

    def __call__(self, X, Y=None, eval_gradient=False):
        D = cdist(X, X if Y is None else Y, "sqeuclidean") / self.length_scale**2
        K = 1.0 / (1.0 + D)
        if not eval_gradient:
            return K
        gradient = (2.0 * D * K**2)[:, :, np.newaxis]
        return K, gradient[:, :, : self.n_dims]


class RadialCauchy(RadialKernel):
    """The same by six hooks."""

    def _pair(self, x, y):
        return 1.0 / (1.0 + np.sum((x - y) ** 2) / self._width() ** 2)

    def _typical_length_scale(self, distance):
        return np.sqrt(distance)

    def _map(self, distances, out):
        out[:] = 1.0 / (1.0 + distances / self._width() ** 2)

    def _gradient(self, D, K):
        return 2.0 * D / self._width() ** 2 * K**2

    def _parts(self, differences):
        return differences**2

    def _fill(self, X, Y, as_kernel, out):
        out[:] = cdist(X, X if Y is None else Y, "sqeuclidean")
        if as_kernel:
            self._map(out, out)


WIDTHS = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "kernel",
    [
        Cauchy(),
        Cauchy(3.0, "fixed"),
        RadialCauchy(2.0),
        RadialCauchy(2.0, "fixed"),
        RadialCauchy(WIDTHS),
        2.0 * RadialCauchy(2.0) + Cauchy() * DotProduct(),
        RBF(2.0),
        RBF(WIDTHS),
        RBF(WIDTHS, "fixed"),
        Matern(2.0, nu=0.5),
        Matern(WIDTHS, nu=1.5),
        Matern(2.0, nu=2.5),
        RationalQuadratic(2.0),
        DotProduct(),
        DotProduct() ** 2,
        ConstantKernel(2.0),
        WhiteKernel(0.5),
        RBF(2.0) + WhiteKernel(0.5),
        ConstantKernel(2.0) * RBF(WIDTHS) + DotProduct() * WhiteKernel(0.5),
        (Matern(2.0, nu=1.5) + WhiteKernel(0.5)) ** 2,
    ],
    ids=str,
)
def test_good_kernels_pass(kernel, capsys):
    assert check_kernel(kernel) is None
    assert capsys.readouterr() == ("", "")


def test_good_kernels_pass_on_other_samples(rng):
    for X in (rng.normal(size=(3, 1)), rng.integers(0, 9, size=(30, 2)), [[0.0], [1.0], [1.5]]):
        check_kernel(RadialCauchy(), X)
        check_kernel(RBF() + DotProduct(), X)


@pytest.mark.parametrize("X", [np.ones(3), np.ones((2, 5)), [[1.0], [2.0], [np.nan]]])
def test_samples_that_are_none(X):
    with pytest.raises(SettingError, match=r"X has shape .*; expected at least three samples"):
        check_kernel(RBF(), X)


# -- kernels that break one promise ---------------------------------------------------------------


class Changed(Cauchy):
    """Gives another matrix."""

    def __call__(self, X, Y=None, eval_gradient=False):
        K = super().__call__(X, Y)
        K = self._changed(K, X, Y)
        return (K, super().__call__(X, eval_gradient=True)[1]) if eval_gradient else K


class KernelInSinglePrecision(Changed):
    def _changed(self, K, X, Y):
        return K.astype(np.float32)


class KernelAsList(Changed):
    def _changed(self, K, X, Y):
        return K.tolist()


class KernelWithoutLastColumn(Changed):
    def _changed(self, K, X, Y):
        return K[:, :-1]


class InfiniteKernel(Changed):
    def _changed(self, K, X, Y):
        return np.where(np.eye(*K.shape), np.inf, K)


class ReadOnlyKernel(Changed):
    def _changed(self, K, X, Y):
        K.flags.writeable = False
        return K


class CachedKernel(Changed):
    def _changed(self, K, X, Y):
        if not hasattr(self, "_cache"):
            self._cache = {}
        return self._cache.setdefault(K.shape, K)


class CentresItsInput(Cauchy):
    def __call__(self, X, Y=None, eval_gradient=False):
        X -= X.mean(axis=0)
        return super().__call__(X, X + 0.0 if Y is None else Y, eval_gradient)


class ScalesOtherSamples(Cauchy):
    def __call__(self, X, Y=None, eval_gradient=False):
        if Y is not None:
            Y *= 1.0 + 1e-12
        return super().__call__(X, Y, eval_gradient)


class WantsToWrite(Changed):
    def _changed(self, K, X, Y):
        if not X.flags.writeable:
            raise ValueError("buffer source array is read-only")
        return K


class Asymmetric(Changed):
    def _changed(self, K, X, Y):
        return K + 1e-6 * X[:, :1]


class AsymmetricAcross(Changed):
    def _changed(self, K, X, Y):
        return K if Y is None else K + 1e-6 * X[:, :1]


class Jittered(Changed):
    def _changed(self, K, X, Y):
        return K + 1e-8 * np.eye(len(K)) if Y is None else K


class NegativeNoise(WhiteKernel):
    def __call__(self, X, Y=None, eval_gradient=False):
        return -np.eye(len(X)) if Y is None else np.zeros((len(X), len(Y)))


class WrongDiagonal(Cauchy):
    def diag(self, X):
        return np.full(len(X), 1.0 + 1e-8)


class NotNormalised(Changed):
    def _changed(self, K, X, Y):
        return 2.0 * K

    def diag(self, X):
        return np.full(len(X), 2.0)


class NotStationary(StationaryKernelMixin, DotProduct):
    def is_stationary(self):
        return True


class LosesTheThirdPanel(Changed):
    def _changed(self, K, X, Y):
        if Y is not None and len(X) == 40:
            K[30:] *= 1.0 + 1e-6
        return K


class AloneIsAnother(Changed):
    def _changed(self, K, X, Y):
        return 2.0 * K if Y is None and len(X) == 1 else K


class ScaledByTheBatch(Cauchy):
    def __call__(self, X, Y=None, eval_gradient=False):
        scale = np.ptp(X) + np.ptp(X if Y is None else Y)
        return super().__call__(X / scale, None if Y is None else Y / scale, eval_gradient)


class SqueezesSingleSamples(Changed):
    def _changed(self, K, X, Y):
        return K.squeeze()


class RacesOfItsThreads(Changed):
    def __init__(self, length_scale=1.0, length_scale_bounds=(1e-5, 1e5), n_jobs=None):
        super().__init__(length_scale, length_scale_bounds)
        self.n_jobs = n_jobs

    def _changed(self, K, X, Y):
        return K * (1.0 - 1e-15 * (self.n_jobs == 2))


class LosesTheta(Cauchy):
    @property
    def theta(self):
        return np.zeros(0)


class TwoDimensions(Cauchy):
    n_dims = 2


class CloneForgetsASetting(Cauchy):
    def __init__(self, length_scale=2.0, length_scale_bounds=(1e-5, 1e5), factor=0.5):
        super().__init__(length_scale, length_scale_bounds)
        self.factor = factor

    def clone_with_theta(self, theta):
        return type(self)(np.exp(theta[0]), factor=1.0)

    def __call__(self, X, Y=None, eval_gradient=False):
        K = super().__call__(X / self.factor, None if Y is None else Y / self.factor)
        return (K, 2.0 * (K - K**2)[:, :, np.newaxis]) if eval_gradient else K


class ThetaCannotBeSet(Cauchy):
    @property
    def theta(self):
        return super().theta

    @theta.setter
    def theta(self, theta):
        pass

    def clone_with_theta(self, theta):
        return type(self)(np.exp(theta[0]))


class IgnoresTheta(Cauchy):
    def clone_with_theta(self, theta):
        return copy.copy(self)


class ThetaInPlace(Cauchy):
    def clone_with_theta(self, theta):
        self.theta = theta
        return copy.copy(self)


class ThetaRounds(Cauchy):
    def __init__(self, length_scale=2.0, length_scale_bounds=(1e-5, 1e5)):
        super().__init__(length_scale, length_scale_bounds)

    def set_params(self, **params):
        if "length_scale" in params:
            params["length_scale"] = float(np.float32(params["length_scale"]))
        return super().set_params(**params)


class ThetaOutside(Cauchy):
    def __init__(self, length_scale=2.0, length_scale_bounds=(1e-5, 1.0)):
        super().__init__(length_scale, length_scale_bounds)


class BoundsForTwo(Cauchy):
    @property
    def bounds(self):
        return np.log([[1e-5, 1e5], [1e-5, 1e5]])


class NeverFixed(Cauchy):
    @property
    def hyperparameter_length_scale(self):
        return Hyperparameter("length_scale", "numeric", (1e-5, 1e5))


class FixedIsAnother(Cauchy):
    def __call__(self, X, Y=None, eval_gradient=False):
        out = super().__call__(X, Y, eval_gradient)
        return (out[0] ** 2, out[1]) if self.length_scale_bounds == "fixed" else out


class GradientOfFixed(Cauchy):
    n_dims = 1


class WrongGradient(Cauchy):
    def __call__(self, X, Y=None, eval_gradient=False):
        out = super().__call__(X, Y, eval_gradient)
        return (out[0], out[1] / self.length_scale) if eval_gradient else out


class FlatGradient(Cauchy):
    def __call__(self, X, Y=None, eval_gradient=False):
        out = super().__call__(X, Y, eval_gradient)
        return (out[0], out[1][:, :, 0]) if eval_gradient and self.n_dims else out


class OtherValueWithGradient(Cauchy):
    def __call__(self, X, Y=None, eval_gradient=False):
        out = super().__call__(X, Y, eval_gradient)
        return (out[0] * (1.0 + 1e-6), out[1]) if eval_gradient else out


class ChangesItsArgument(Cauchy):
    def __init__(self, length_scale=2, length_scale_bounds=(1e-5, 1e5)):
        super().__init__(np.array([length_scale]).reshape(()), length_scale_bounds)


class LosesItsWidth(Cauchy):
    def __getstate__(self):
        return {"length_scale": 1.0, "length_scale_bounds": self.length_scale_bounds}


class LosesWhatItLearnt(Changed):
    _scale = 0.9

    def __init__(self, length_scale=2.0, length_scale_bounds=(1e-5, 1e5)):
        super().__init__(length_scale, length_scale_bounds)
        self._scale = 1.0

    def __getstate__(self):
        return self.get_params()

    def _changed(self, K, X, Y):
        return K * self._scale


class EqualsNothing(Cauchy):
    __hash__ = None

    def __eq__(self, other):
        return False


class EqualsEverything(Cauchy):
    __hash__ = None

    def __eq__(self, other):
        return True


class EqualsItsKind(Cauchy):
    __hash__ = None

    def __eq__(self, other):
        return type(self) is type(other)


class AddsInAnotherOrder(Cauchy):
    def __add__(self, other):
        return Sum(other, self)


class WrongPower(Cauchy):
    def __pow__(self, exponent):
        return self * self * self


class NotForGaussianProcesses(Cauchy):
    @property
    def requires_vector_input(self):
        raise NotImplementedError("samples of which kind?")


class WrongPair(RadialCauchy):
    def _pair(self, x, y):
        return float(np.exp(-np.sum((x - y) ** 2) / self._width() ** 2))


class AsymmetricInTheLastBit(RadialCauchy):
    def _fill(self, X, Y, as_kernel, out):
        super()._fill(X, Y, as_kernel, out)
        if Y is None:
            out[0, 1] = np.nextafter(out[0, 1], 0.0)


class DistancesOfAnother(RadialCauchy):
    def _fill(self, X, Y, as_kernel, out):
        super()._fill(X, Y, as_kernel, out)
        if not as_kernel:
            np.sqrt(out, out=out)


class AsymmetricDistances(RadialCauchy):
    def _fill(self, X, Y, as_kernel, out):
        super()._fill(X, Y, as_kernel, out)
        if not as_kernel and Y is None:
            out[0, 1] = np.nextafter(out[0, 1], 0.0)


class DistancesAcross(RadialCauchy):
    def _fill(self, X, Y, as_kernel, out):
        super()._fill(X, Y, as_kernel, out)
        if not as_kernel and Y is not None:
            np.sqrt(out, out=out)


class DistancesToItself(RadialCauchy):
    def _fill(self, X, Y, as_kernel, out):
        super()._fill(X, Y, as_kernel, out)
        if not as_kernel:
            out += 1e-14


class GradientFromDistances(RadialCauchy):
    def gradient_from_distances(self, D, K):
        return 2.0 * super().gradient_from_distances(D, K)

    def __call__(self, X, Y=None, eval_gradient=False):
        out = super().__call__(X, Y, eval_gradient)
        return (out[0], out[1] / 2.0) if eval_gradient else out


class FillsNothing(RadialCauchy):
    def from_distances(self, D, out=None):
        return super().from_distances(D) if out is None else out


class CopiesItsOutput(RadialCauchy):
    def from_distances(self, D, out=None):
        return super().from_distances(D).copy()


class NegativeWidth(RadialCauchy):
    def _typical_length_scale(self, distance):
        return -np.sqrt(distance)


class SquaredWidth(RadialCauchy):
    def _typical_length_scale(self, distance):
        return distance


BROKEN_KERNELS = [
    (StandardScaler(), "in the sense of scikit-learn.*does not derive"),
    (KernelInSinglePrecision(), "finite matrix of float64.*of type float32"),
    (KernelAsList(), "finite matrix of float64.*it returned list"),
    (KernelWithoutLastColumn(), r"finite matrix.*is \(70, 69\) where \(70, 70\) was expected"),
    (InfiniteKernel(), "finite matrix.*numbers that are not finite"),
    (ReadOnlyKernel(), "may overwrite.*cannot be written"),
    (CachedKernel(), r"may overwrite.*K\[\d+, \d+\] \(when called again\) is -1 where"),
    (CentresItsInput(), r"samples are not changed.*X\[\d+, \d+\] is .* where"),
    (ScalesOtherSamples(), r"samples are not changed.*Y\[\d+, \d+\] is .* every bit"),
    (WantsToWrite(), "may be read-only.*ValueError was raised: buffer source array is read-only"),
    (Asymmetric(), r"K\(X\) is symmetric.*Here: K\(X\)\[\d+, \d+\] is .*off by"),
    (AsymmetricAcross(), r"K\(X, Y\) is the transpose.*Here: K\(Y, X\).T\[\d+, \d+\] is"),
    (AsymmetricInTheLastBit(), r"is symmetric.*every bit must agree"),
    (Jittered(), r"K\(X\) equals K\(X, X\).*Here: K\(X\)\[(\d+), \1\] is 1.00000001 where 1 "),
    (NegativeNoise(), r"but for white noise.*the noise is negative: -1"),
    (WrongDiagonal(), r"diag\(X\) is the diagonal.*Here: diag\[0\] is 1.00000001 where 1 "),
    (NotNormalised(), r"one for a normalised kernel.*diag\[0\] is 2 where 1 "),
    (NotStationary(), r"stationary kernel depends.*\(shifted\)"),
    (ExpSineSquared(), "No eigenvalue is negative.*smallest eigenvalue of K for X is -4.22"),
    (LosesTheThirdPanel(), r"duplicates are alike.*K\[\d+, \d+\] \(of duplicates\) is"),
    (AloneIsAnother(), r"One sample.*Here: K\(X\[:1\]\)\[0, 0\] is 2 where 1"),
    (ScaledByTheBatch(), r"One sample.*\(one sample at a time\)"),
    (SqueezesSingleSamples(), r"One sample.*the shape is \(400,\) where \(20, 20\)"),
    (RacesOfItsThreads(), r"not depend on n_jobs.*\(with n_jobs=2\).*every bit must agree"),
    (LosesTheta(), r"go into theta.*theta is \(0,\) for 1 free hyperparameters"),
    (TwoDimensions(), "go into theta.*n_dims is 2 where 1 was expected"),
    (CloneForgetsASetting(), r"go into theta.*\(with theta there and back\)"),
    (ThetaCannotBeSet(), r"go into theta.*\(with theta set back\)"),
    (IgnoresTheta(), r"go into theta.*clone_with_theta\(\[0.99\d+\]\) has theta=\[0.69"),
    (ThetaInPlace(), r"go into theta.*\(after clone_with_theta\)"),
    (ThetaRounds(), r"go into theta.*clone_with_theta"),
    (ThetaOutside(), r"go into theta.*theta=\[0.69\d*\] is outside of its bounds"),
    (BoundsForTwo(), r"go into theta.*bounds is \(2, 2\) where \(1, 2\) was expected"),
    (NeverFixed(), r"are \"fixed\" leaves.*length_scale_bounds='fixed' leaves theta=\[0.69"),
    (FixedIsAnother(), r"are \"fixed\" leaves.*\(with length_scale_bounds='fixed'\)"),
    (GradientOfFixed(), r'are "fixed" leaves.*leaves a gradient \(20, 20, 1\)'),
    (WrongGradient(), r"derivatives with respect to theta.*along theta\[0\]\) is"),
    (FlatGradient(), r"derivatives.*gradient is \(20, 20\) where \(20, 20, 1\) was expected"),
    (OtherValueWithGradient(), r"derivatives.*\(with eval_gradient\)"),
    (ChangesItsArgument(), "RuntimeError was raised: Cannot clone"),
    (LosesItsWidth(), "pickled copies.*its copy does not equal the kernel"),
    (LosesWhatItLearnt(), r"pickled copies.*\(of the copy\)"),
    (EqualsNothing(), "Clones and.*its clone does not equal the kernel"),
    (EqualsEverything(), "other kernels are not.*a kernel equals its sum"),
    (EqualsItsKind(), "other kernels are not.*a kernel equals that with another theta"),
    (AddsInAnotherOrder(), r"products and powers.*the gradient of kernel \+ RBF\["),
    (WrongPower(), r"products and powers.*Here: kernel \*\* 2\[\d+, \d+\] is"),
    (NotForGaussianProcesses(), "mean and variance.*NotImplementedError was raised: samples"),
    (WrongPair(), r"holds pair\(x, y\).*K\[\d, \d\] is"),
    (DistancesOfAnother(), r"is from_distances.*from_distances\[\d+, \d+\] is"),
    (AsymmetricDistances(), r"is from_distances.*Here: distances\(X\)\[\d+, \d+\].*every bit"),
    (DistancesAcross(), r"is from_distances.*\(of X and Y\)"),
    (DistancesToItself(), r"is from_distances.*diagonal of distances\(X\)\[0\] is 1e-14 where 0"),
    (GradientFromDistances(), r"so is its gradient.*gradient_from_distances\[\d+, \d+\] is"),
    (FillsNothing(), r"is from_distances.*\(in place\)"),
    (CopiesItsOutput(), "is from_distances.*out is not what it returns"),
    (NegativeWidth(), "has the unit of the features.*from a median distance is -"),
    (SquaredWidth(), "has the unit of the features.*times 1000 have a length scale times 1000000"),
]


@pytest.mark.parametrize(("kernel", "message"), BROKEN_KERNELS, ids=names_of(BROKEN_KERNELS))
def test_broken_kernels_fail(kernel, message):
    name = type(kernel).__name__
    with pytest.raises(AssertionError, match=f"^{name} breaks a promise.*{message}"):
        check_kernel(kernel)


# -- what is said ---------------------------------------------------------------------------------


def test_an_error_inside_becomes_the_cause():
    def keeps(trial):
        """One is one."""

    def breaks(trial):
        """The trial
        is not zero.
        """
        return 1 // trial

    require_promises([keeps, breaks], 1, "text")
    with pytest.raises(AssertionError) as caught:
        require_promises([keeps, breaks], 0, "text")
    assert str(caught.value) == (
        "str breaks a promise. The trial is not zero. Here: ZeroDivisionError was raised: "
        "integer division or modulo by zero"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("actual", "allowed", "said"),
    [
        ([[1.0, 2.5]], 0.1, "at 0, 1 is 2.5 where 2 was expected: off by 0.5, and at most 0.1"),
        ([[1.0, 2.0 + 1e-9]], 0.0, "off by 1e-09, and every bit must agree"),
        ([[np.nan, 3.0]], 0.1, "at 0, 0 is nan where 1"),
        ([[1.2, np.inf]], 0.1, "at 0, 1 is inf where 2"),
        ([[1.0]], 0.1, r"the shape is \(1, 1\) where \(1, 2\) was expected"),
    ],
)
def test_the_worst_element_is_named(actual, allowed, said):
    expected = np.array([[1.0, 2.0]])
    with pytest.raises(AssertionError, match=said):
        require_close(np.array(actual), expected, lambda i, j: f"at {i}, {j}", allowed)
    require_close(expected + 0.9 * allowed, expected, str, allowed)
