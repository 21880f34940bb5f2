"""The contract of descriptors, one function per promise."""
# ruff: noqa: D401 - a docstring says what is promised, and is no command

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from kernchem.descriptors import Descriptor
from kernchem.elements import MAX_ATOMIC_NUMBER
from kernchem.environments import Environments
from kernchem.errors import LayoutError, SettingError, StructureError, UnknownElementError
from kernchem.kernels import NAMED_KERNELS
from kernchem.models import KRR
from kernchem.structures import Structures, as_structures
from kernchem.testing.contract import (
    Array,
    pickled,
    require,
    require_close,
    require_promises,
    require_refusal,
)
from kernchem.testing.features import allowed_for, name_of, owners, place_in, rows_of, values_of
from kernchem.testing.molecules import (
    changed,
    moved,
    random_rotation,
    small_and_others,
    small_molecules,
)

__all__ = ["check_descriptor"]

#: Molecules with which threads and panels are tried: more than fit a panel of any descriptor here.
_MANY = 300
#: A stretch by one per cent must change a feature by this fraction of the molecule's largest one.
_SEEN = 1e-5


@dataclass(frozen=True)
class _Trial:
    """What the promises are tried on; ``symmetric`` holds molecules as ASE builds them."""

    descriptor: Any
    structures: Structures
    symmetric: Structures
    movable: bool
    permutable: bool

    def fresh(self) -> Any:
        """Return an unfitted copy, whose features come as they are in any output mode."""
        return clone(self.descriptor).set_output(transform="default")

    def fitted(self) -> Any:
        return self.fresh().fit(self.structures)


def check_descriptor(
    descriptor: Any, structures: Any = None, *, movable: bool = True, permutable: bool = True
) -> None:
    """Check that a descriptor keeps every promise that kernchem's models rely on.

    Nothing is printed, and nothing returned: a promise that is broken is an error.

    Parameters
    ----------
    descriptor : Descriptor
        An object with the settings to check; copies of it are fitted.
    structures : Structures or sequence of ase.Atoms, optional
        At least two molecules to check it on, of different sizes if it takes them, and without
        symmetry if the order of atoms may not matter. By default sixteen molecules of two to
        nine atoms (H, C, N, O), as ASE builds them and with displaced atoms.
    movable : bool, default True
        Translation, rotation and reflection must not change the features.
    permutable : bool, default True
        The order of the atoms must not change the features; with one row per atom, the rows must
        follow the atoms.

    Raises
    ------
    AssertionError
        At the first promise that is broken; the message says which one, at which molecule and
        feature, and by how much. An error inside the descriptor becomes its cause.
    SettingError
        If a class is given in place of an object.
    StructureError
        If fewer than two structures are given.

    Notes
    -----
    Checked in this order: citation and recommended kernel; arguments stored untouched; errors
    before ``fit`` and without molecules; rows, types and names; input left alone; the same after
    ``fit`` twice, as a copy and as a clone; molecule by molecule, with the bits of the batch; from
    ``ase.Atoms``; the same bits for any ``n_jobs``; symmetries, to 1e-10; that distances are seen
    at all; a molecule too large refused by name, and held by the widened descriptor with zeros in
    the new columns; unknown elements and, unless ``periodic``, periodic structures refused by name;
    use in :class:`~kernchem.KRR` and in a pipeline (not for features per atom).

    It takes some 350 molecules' features a few times over.

    Examples
    --------
    >>> from kernchem.descriptors import BagOfBonds, CoulombMatrix
    >>> check_descriptor(BagOfBonds())
    >>> check_descriptor(CoulombMatrix("none"), permutable=False)
    """
    if isinstance(descriptor, type):
        name = descriptor.__name__
        raise SettingError(
            f"check_descriptor was given the class {name}; pass an object with the settings to "
            f"check, such as {name}()"
        )
    if structures is None:
        symmetric = small_molecules()
        shift = np.random.default_rng(1).normal(0.0, 0.05, symmetric.positions.shape)
        batch = changed(symmetric, positions=symmetric.positions + shift)
    else:
        symmetric = batch = as_structures(structures)
    if len(batch) < 2:
        raise StructureError(
            f"check_descriptor was given {len(batch)} structures; give at least two, or none for "
            "the built-in ones"
        )
    trial = _Trial(descriptor, batch, symmetric, movable, permutable)
    require_promises(_PROMISES, trial, descriptor)


# -- the promises, in the order in which they are tried -------------------------------------------


def _says_what_it_is(trial: _Trial) -> None:
    """A descriptor is a Descriptor with a citation and the name of a kernel that suits it."""
    require(
        isinstance(trial.descriptor, Descriptor),
        "it does not derive from kernchem.descriptors.Descriptor",
    )
    citation = getattr(trial.descriptor, "citation", None)
    require(isinstance(citation, str) and citation, f"citation is {citation!r} and not a text")
    kernel = getattr(trial.descriptor, "recommended_kernel", None)
    require(
        kernel in NAMED_KERNELS,
        f"recommended_kernel is {kernel!r}, which is none of {', '.join(NAMED_KERNELS)}",
    )


def _stores_arguments(trial: _Trial) -> None:
    """The constructor stores its arguments as they are, and fit leaves them alone."""
    cls, given = type(trial.descriptor), trial.descriptor.get_params(deep=False)
    parameters = inspect.signature(cls).parameters
    required = {name for name in given if parameters[name].default is inspect.Parameter.empty}
    default = cls(**{name: given[name] for name in required})
    for name in set(given) - required:
        _require_same_object(default, name, parameters[name].default)
    again = cls(**given)
    again.fit(trial.structures)
    for name, value in given.items():
        _require_same_object(again, name, value)


def _must_be_fitted(trial: _Trial) -> None:
    """What needs a layout raises NotFittedError before fit, and fit wants at least one molecule."""
    unfitted = trial.fresh()
    for use in (unfitted.transform, unfitted.widened):
        require_refusal(partial(use, trial.structures), NotFittedError, "")
    require_refusal(unfitted.get_feature_names_out, NotFittedError, "")
    require_refusal(partial(unfitted.fit, trial.structures[:0]), StructureError, "")
    require_refusal(partial(unfitted.fit, np.ones((2, 3))), StructureError, "")
    require(unfitted.fit(trial.structures) is unfitted, "fit does not return the descriptor itself")


def _returns_named_rows(trial: _Trial) -> None:
    """A molecule, or each of its atoms, gives a finite row of float64, with a name per column."""
    descriptor, structures = trial.fitted(), trial.structures
    out = descriptor.transform(structures)
    kind = Environments if descriptor.local else np.ndarray
    require(
        isinstance(out, kind),
        f"transform returned {type(out).__name__} where local={descriptor.local} stands for "
        f"{kind.__name__}",
    )
    if descriptor.local:
        for name in ("numbers", "offsets"):
            same = np.array_equal(getattr(out, name), getattr(structures, name))
            require(same, f"the {name} of the environments are not those of the structures")
    n_rows = len(structures.numbers if descriptor.local else structures)
    rows, names = rows_of(descriptor, structures), descriptor.get_feature_names_out()
    expected = (n_rows, descriptor.n_features_out_)
    require(rows.dtype == np.float64, f"the features are of type {rows.dtype}")
    require(rows.shape == expected, f"the features are {rows.shape} where {expected} was expected")
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        place = place_in(descriptor, structures, n_rows)(*bad[0])
        raise AssertionError(f"{place} is {rows[tuple(bad[0])]}")
    require(
        len(names) == rows.shape[1], f"there are {len(names)} names for {rows.shape[1]} columns"
    )
    require(len(set(names)) == len(names), "two columns have the same name")
    none = rows_of(descriptor, structures[:0]).shape
    require(none == (0, len(names)), f"the features of no molecules are {none}")
    require(
        set(structures.elements) <= set(descriptor.elements_),
        f"elements_ is {descriptor.elements_} after a fit on {structures.elements}",
    )


def _leaves_input_alone(trial: _Trial) -> None:
    """The molecules are not changed by fit and transform."""
    structures = trial.structures[:]
    before = pickle.dumps(structures)
    trial.fresh().fit(structures).transform(structures)
    require(pickle.dumps(structures) == before, "the Structures were changed")
    atoms, same = structures.to_ase(), structures.to_ase()
    trial.fresh().fit(atoms).transform(atoms)
    require(atoms == same, "the ase.Atoms were changed")


def _fits_again(trial: _Trial) -> None:
    """Fit forgets what an earlier fit learnt, and fit_transform is fit and transform."""
    expected = rows_of(trial.fitted(), trial.structures)
    again = trial.fresh().fit(trial.structures[:1]).fit(trial.structures)
    _require_same(trial, again, expected, "after fit on other molecules")
    both = values_of(trial.fresh().fit_transform(trial.structures))
    _require_same(trial, again, expected, "by fit_transform", both)


def _can_be_copied(trial: _Trial) -> None:
    """A pickled copy is fitted and a clone is not, and both give the same features."""
    descriptor = trial.fitted()
    expected = rows_of(descriptor, trial.structures)
    _require_same(trial, pickled(descriptor), expected, "of the pickled copy")
    unfitted = clone(descriptor)
    require_refusal(partial(unfitted.transform, trial.structures), NotFittedError, "")
    _require_same(trial, unfitted.fit(trial.structures), expected, "of the clone")


def _takes_molecules_one_by_one(trial: _Trial) -> None:
    """A molecule has the features, to the last bit, that it has in a batch."""
    descriptor, structures = trial.fitted(), trial.structures
    expected = rows_of(descriptor, structures)
    batches = [rows_of(descriptor, structures[[k]]) for k in range(len(structures))]
    _require_same(trial, descriptor, expected, "of a batch of one", np.concatenate(batches))
    single = [rows_of(descriptor, item) for item in structures]
    _require_same(trial, descriptor, expected, "of one structure", np.concatenate(single))
    _require_same(trial, descriptor, expected, "after transform of others")


def _takes_atoms_of_ase(trial: _Trial) -> None:
    """ase.Atoms, one of them or a list, give the features of Structures."""
    descriptor, atoms = trial.fitted(), trial.structures.to_ase()
    expected = rows_of(descriptor, trial.structures)
    _require_same(trial, descriptor, expected, "of a list", rows_of(descriptor, atoms))
    fitted = trial.fresh().fit(atoms)
    _require_same(trial, fitted, expected, "after fit on a list")
    one = [rows_of(descriptor, item) for item in atoms]
    _require_same(trial, descriptor, expected, "of one ase.Atoms", np.concatenate(one))


def _ignores_threads_and_panels(trial: _Trial) -> None:
    """The bits depend neither on n_jobs nor on the number of molecules."""
    few = trial.structures
    n_copies = -(-_MANY // len(few))
    many = few[np.tile(np.arange(len(few)), n_copies)]
    threaded = "n_jobs" in trial.descriptor.get_params(deep=False)
    one, two = ({"n_jobs": n} if threaded else {} for n in (1, 2))
    expected = np.tile(rows_of(trial.fresh().set_params(**one).fit(few), few), (n_copies, 1))
    descriptor = trial.fresh().set_params(**two).fit(many)
    what = f"among {len(many)} molecules" + (", with n_jobs=2" if threaded else "")
    place = place_in(descriptor, many, len(expected), what)
    require_close(rows_of(descriptor, many), expected, place)


def _ignores_position_and_orientation(trial: _Trial) -> None:
    """Translation, rotation and reflection of a molecule do not change its features."""
    if not trial.movable:
        return
    rng = np.random.default_rng(2)
    structures = trial.symmetric
    descriptor = trial.fresh().fit(structures)
    expected = rows_of(descriptor, structures)
    rotations = [random_rotation(rng) for _ in range(3)]
    moves = [("translated", np.eye(3), 5.0), ("reflected", np.diag([1.0, 1.0, -1.0]), 0.0)]
    moves += [("rotated", rotation, 0.0) for rotation in rotations]
    moves += [("rotated, reflected and translated", -rotation, 5.0) for rotation in rotations]
    for what, matrix, width in moves:
        actual = rows_of(descriptor, moved(structures, matrix, width * rng.normal(size=3)))
        place = place_in(descriptor, structures, len(expected), what)
        require_close(actual, expected, place, allowed_for(expected))


def _ignores_order_of_atoms(trial: _Trial) -> None:
    """The order of the atoms does not change the features; rows of atoms follow their atoms."""
    if not trial.permutable:
        return
    rng = np.random.default_rng(3)
    structures, descriptor = trial.structures, trial.fitted()
    expected = rows_of(descriptor, structures)
    for _ in range(3):
        order = np.concatenate([
            start + rng.permutation(size)
            for start, size in zip(structures.offsets[:-1], structures.sizes, strict=True)
        ])  # fmt: skip
        other = changed(
            structures, numbers=structures.numbers[order], positions=structures.positions[order]
        )
        wanted = expected[order] if descriptor.local else expected
        place = place_in(descriptor, other, len(wanted), "with atoms in another order")
        require_close(rows_of(descriptor, other), wanted, place, allowed_for(wanted))


def _sees_distances(trial: _Trial) -> None:
    """A molecule stretched by one per cent has other features."""
    structures, descriptor = trial.structures, trial.fitted()
    before = rows_of(descriptor, structures)
    after = rows_of(descriptor, moved(structures, 1.01 * np.eye(3)))
    owner = owners(structures, len(before))
    for k, size in enumerate(structures.sizes):
        change = np.abs(after - before)[owner == k].max(initial=0.0)
        scale = np.abs(before)[owner == k].max(initial=0.0)
        require(
            size == 1 or change > _SEEN * scale,
            f"{name_of(structures, k)}: no feature changes by more than {change:.2g}, "
            f"and the largest one is {scale:.2g}",
        )


def _widens_by_zeros(trial: _Trial) -> None:
    """What does not fit is refused by name; widened, a descriptor gains columns of zeros only."""
    small, others = small_and_others(trial.fresh(), trial.structures)
    descriptor = trial.fresh().fit(small)
    narrow = rows_of(descriptor, small)
    columns, names = np.arange(narrow.shape[1]), descriptor.get_feature_names_out()
    for held in (small, small[:0]):
        _require_itself(descriptor.widened(held), descriptor, columns)
    try:
        descriptor.transform(others)
    except LayoutError as error:
        require("structure " in str(error), f"the LayoutError names no structure, but: {error}")
    else:
        _require_itself(descriptor.widened(others), descriptor, columns)
        return
    wider, columns = descriptor.widened(others)
    require(wider is not descriptor, "widened returned the descriptor that does not hold them")
    wide, n_rows = rows_of(wider, small), len(narrow)
    require_close(wide[:, columns], narrow, place_in(descriptor, small, n_rows, "widened"))
    new = np.setdiff1d(np.arange(wide.shape[1]), columns)
    place = place_in(wider, small, n_rows, "widened")
    require_close(
        wide[:, new], np.zeros((n_rows, len(new))), lambda row, column: place(row, int(new[column]))
    )
    require(np.isfinite(rows_of(wider, others)).all(), "features of the larger ones are not finite")
    require(descriptor.n_features_out_ == len(names), "widened changed the descriptor itself")
    moved_names = wider.get_feature_names_out()[columns]
    require(np.array_equal(moved_names, names), "the names did not move along")
    require_close(rows_of(descriptor, small), narrow, place_in(descriptor, small, n_rows, "later"))
    require_refusal(partial(descriptor.transform, others), LayoutError, "structure ")


def _refuses_unknown_elements(trial: _Trial) -> None:
    """An element that was absent in fit is refused with the molecule's name."""
    descriptor = trial.fitted()
    known = set(descriptor.elements_)
    # Silicon is one that people have.
    absent = [z for z in (14, *range(1, MAX_ATOMIC_NUMBER + 1)) if z not in known]
    if not absent:
        return
    foreign = Structures([absent[0]] * 2, [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]], [0, 2])
    batch = Structures.concatenate([trial.structures[:2], foreign])
    for use in (descriptor.transform, descriptor.widened):
        require_refusal(partial(use, batch), UnknownElementError, "structure 2 (")


def _refuses_periodic_structures(trial: _Trial) -> None:
    """A periodic structure is refused by name, and a box without periodicity does not count."""
    if trial.descriptor.periodic:
        return
    descriptor, structures = trial.fitted(), trial.structures
    cells = np.tile(100.0 * np.eye(3), (len(structures), 1, 1))
    pbc = np.zeros((len(structures), 3), dtype=bool)
    boxed = rows_of(descriptor, changed(structures, cells=cells, pbc=pbc))
    _require_same(trial, descriptor, rows_of(descriptor, structures), "in a box", boxed)
    pbc[1] = True
    crystal = changed(structures, cells=cells, pbc=pbc)
    for use in (descriptor.transform, descriptor.widened, trial.fresh().fit):
        require_refusal(partial(use, crystal), StructureError, "structure 1 (")


def _serves_models(trial: _Trial) -> None:
    """KRR takes the descriptor with the kernel it recommends, and agrees with a pipeline."""
    if trial.descriptor.local:
        return
    kernel = trial.descriptor.recommended_kernel
    settings: dict[str, Any] = {"alpha": 1e-2, "composition": False, "optimizer": None}
    y = np.random.default_rng(4).normal(size=len(trial.structures))

    def molecule(k: int) -> str:
        return f"the prediction of {name_of(trial.structures, k)}"

    owner = KRR(kernel, descriptor=trial.fresh(), **settings).fit(trial.structures, y)
    pipeline = make_pipeline(trial.fresh(), KRR(kernel, **settings)).fit(trial.structures, y)
    allowed = 1e-8 * np.abs(y).max()
    expected = pipeline.predict(trial.structures)
    require_close(owner.predict(trial.structures), expected, molecule, allowed)


_PROMISES: tuple[Callable[[_Trial], None], ...] = (
    _says_what_it_is,
    _stores_arguments,
    _must_be_fitted,
    _returns_named_rows,
    _leaves_input_alone,
    _fits_again,
    _can_be_copied,
    _takes_molecules_one_by_one,
    _takes_atoms_of_ase,
    _ignores_threads_and_panels,
    _ignores_position_and_orientation,
    _ignores_order_of_atoms,
    _sees_distances,
    _widens_by_zeros,
    _refuses_unknown_elements,
    _refuses_periodic_structures,
    _serves_models,
)


# -- helpers --------------------------------------------------------------------------------------


def _require_same(
    trial: _Trial, descriptor: Any, expected: Array, what: str, actual: Array | None = None
) -> None:
    """Require the same bits, by default of the features of the trial's molecules."""
    rows = rows_of(descriptor, trial.structures) if actual is None else actual
    require_close(rows, expected, place_in(descriptor, trial.structures, len(expected), what))


def _require_same_object(holder: Any, name: str, value: Any) -> None:
    stored = getattr(holder, name)
    require(stored is value, f"{name}={value!r} became {stored!r}, another object")


def _require_itself(
    widened: tuple[Any, npt.NDArray[np.int64]], descriptor: Any, columns: npt.NDArray[np.int64]
) -> None:
    """Require that widening was not needed."""
    same, places = widened
    require(
        same is descriptor and np.array_equal(places, columns),
        "widened changes a descriptor that holds the molecules already",
    )
