"""Kernels between structures that compare all atoms of one with all atoms of the other."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from kernchem._threads import run_panels
from kernchem.environments import Environments, as_environments
from kernchem.errors import SettingError
from kernchem.kernels import structure_jit
from kernchem.kernels.atom_bases import (
    base_with_gradient,
    inner_kernel,
    product_profile,
    sees_differences,
)
from kernchem.kernels.atom_groups import (
    AtomGroup,
    atom_groups,
    column_tiles,
    kept_groups,
    on_all_columns,
    on_shared_columns,
    row_panels,
)
from kernchem.kernels.atom_tiles import AtomTiles, own_runs
from kernchem.kernels.base import RadialKernel
from kernchem.kernels.coupling import Coupling, coupling_matrix
from kernchem.kernels.declarations import holds_noise
from kernchem.kernels.features import Matrix, mirror_panels

__all__ = ["AtomSum", "Average", "StructureKernel"]

# Atoms per panel of rows and per tile of columns: their products (2 MiB) stay in cache between the
# matrix product and the pass that follows.
_PANEL = 256
_TILE = 1024
#: Atoms per element among which typical distances are looked for.
_SAMPLE = 200


class StructureKernel(Kernel):
    """Base class of kernels k(A, B) made of a kernel f between atoms.

    It obeys scikit-learn's kernel protocol on :class:`~kernchem.environments.Environments`, or on
    object arrays of their items; its hyperparameters are those of ``base``. A subclass implements
    the two hooks below.

    Attributes
    ----------
    positive_semidefinite : bool
        Whether no matrix of the kernel has a negative eigenvalue if none of ``base`` has one. The
        message of a failed factorisation names kernels that declare False.
    """

    positive_semidefinite = True
    #: What ``normalize`` is by default; ``repr`` leaves it out.
    _normalize_default = False

    base: Any
    coupling: Coupling
    normalize: bool
    n_jobs: int | None

    @abstractmethod
    def _fill(
        self, X: Environments, Y: Environments | None, with_gradient: bool
    ) -> tuple[Matrix, Matrix]:
        """Return the kernel before cosine normalisation, and its gradient (n, n, p)."""

    @abstractmethod
    def _self(self, X: Environments) -> Matrix:
        """Return the diagonal before cosine normalisation."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments and, if ``deep``, those of the kernel between atoms.

        Parameters
        ----------
        deep : bool, default True
            Also return the parameters of ``base``, as ``base__NAME``.

        Returns
        -------
        dict
            Name to value.
        """
        params = dict(super().get_params(deep=False))
        if deep and isinstance(self.base, Kernel):
            params.update((f"base__{k}", v) for k, v in self.base.get_params().items())
        return params

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """Hyperparameters of the kernel between atoms, for scikit-learn."""
        self._check_base()
        return [
            Hyperparameter(f"base__{h.name}", h.value_type, h.bounds, h.n_elements)
            for h in self.base.hyperparameters
        ]

    @property
    def theta(self) -> Matrix:
        """Logarithms of the hyperparameters that are not fixed."""
        self._check_base()
        return np.asarray(self.base.theta)

    @theta.setter
    def theta(self, theta: npt.ArrayLike) -> None:
        self._check_base()
        self.base.theta = theta

    @property
    def bounds(self) -> Matrix:
        """Bounds of :attr:`theta`."""
        self._check_base()
        return np.asarray(self.base.bounds)

    @property
    def requires_vector_input(self) -> bool:
        """Whether samples are rows of numbers, for scikit-learn: they are not."""
        return False

    def is_stationary(self) -> bool:
        """Return whether the kernel depends on differences of features only: it does not."""
        return False

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """Return the kernel matrix and, if asked for, its gradient.

        Parameters
        ----------
        X : Environments, or sequence of its items (n_structures,)
            Features of atoms.
        Y : Environments, or sequence of its items (n_others,), optional
            Features of the atoms of other structures; X itself if absent, which halves the work.
        eval_gradient : bool, default False
            Also return the derivative with respect to ``theta``; only without ``Y``.

        Returns
        -------
        K : array (n_structures, n_others)
            C-contiguous float64.
        K_gradient : array (n_structures, n_structures, n_hyperparameters)
            Only with ``eval_gradient``.

        Raises
        ------
        StructureError
            If an argument holds no features of atoms.
        SettingError
            If an argument of the kernel has a value it cannot have, or features do not match.
        """
        self._check()
        if eval_gradient and Y is not None:
            raise SettingError("eval_gradient=True needs Y=None; call the kernel on X alone")
        left = as_environments(X)
        right = None if Y is None or Y is X else as_environments(Y)
        if right is not None and left.n_features != right.n_features:
            raise SettingError(
                f"X has {left.n_features} features per atom and Y has {right.n_features}; both "
                "must come from the same descriptor with the same layout"
            )
        K, gradient = self._fill(left, right, eval_gradient)
        if self.normalize:
            _normalize(self, left, right, K, gradient)
        return (K, gradient) if eval_gradient else K

    def diag(self, X: Any) -> Matrix:
        """Return the diagonal of the kernel matrix of ``X``.

        Parameters
        ----------
        X : Environments, or sequence of its items (n_structures,)
            Features of atoms.

        Returns
        -------
        array (n_structures,)
            Kernel of each structure with itself. With ``normalize`` 1, or 0 for a structure of
            atoms that are compared with none, such as hydrogen without heavy atoms.
        """
        self._check()
        own = self._self(as_environments(X))
        return (own > 0.0).astype(np.float64) if self.normalize else own

    def typical_distance(self, X: Any) -> float:
        """Return a distance between the features of atoms that is typical of a batch.

        The median over pairs of a sample of atoms of each element, averaged over the elements, in
        the units of ``base.distances``; for kernels that know no distance, 1.

        Parameters
        ----------
        X : Environments, or sequence of its items
            Features of atoms.

        Returns
        -------
        float
            Above zero.
        """
        if not isinstance(self.base, RadialKernel):
            return 1.0
        batch = as_environments(X)
        rng = np.random.default_rng(0)
        weights, medians = [], []
        for element in batch.elements:
            owned = np.flatnonzero(batch.numbers == element)
            chosen = np.sort(rng.permutation(owned)[:_SAMPLE])
            rows = batch.rows_of_atoms(chosen)
            D = self.base.distances(rows)
            if (D > 0).any():
                medians.append(float(np.median(D[D > 0])))
                weights.append(len(owned))
        return float(np.average(medians, weights=weights)) if medians else 1.0

    def __repr__(self) -> str:
        told = [f"{self.base!r}"]
        if self.coupling != "same":
            told.append(f"coupling={self.coupling!r}")
        if self.normalize != self._normalize_default:
            told.append(f"normalize={self.normalize!r}")
        return f"{type(self).__name__}({', '.join([*told, *self._other_settings()])})"

    def _other_settings(self) -> list[str]:
        """Return what ``repr`` tells besides the common arguments."""
        return []

    def _check_base(self) -> None:
        if not isinstance(self.base, Kernel) or isinstance(self.base, StructureKernel):
            raise SettingError(
                f"base={self.base!r} is no kernel between rows of features; give one such as "
                "Gaussian()"
            )

    def _check(self) -> None:
        self._check_base()
        if holds_noise(self.base):
            raise SettingError(
                f"base={self.base!r} holds white noise, of which a structure and its copy would "
                f"not have the same; add it outside: {type(self).__name__}(...) + WhiteNoise()"
            )
        if not isinstance(self.normalize, bool):
            raise SettingError(f"normalize={self.normalize!r}; use True or False")


class AtomSum(StructureKernel):
    r"""Sum over all pairs of atoms of two structures.

    .. math:: k(A, B) = \sum_{i \in A} \sum_{j \in B} S(Z_i, Z_j)\, f(q_i, q_j)

    with the features q of the atoms, a kernel f between them and a weight S for each pair of
    elements. Extensive: the kernel of energies that are sums over atoms.

    Parameters
    ----------
    base : kernel
        Kernel f between rows of features, of :mod:`kernchem.kernels` or of scikit-learn.
        White noise is added outside: ``AtomSum(...) + WhiteNoise()``.
    coupling : {"same", "all", "heavy"} or mapping of str to float, default "same"
        Pairs that are compared: of the same element, all, or all without hydrogen; or weights S by
        name, e.g. ``{"C-N": 0.5}``, beside 1 for the same element. Must be positive semi-definite.
    normalize : bool, default False
        Divide by :math:`\sqrt{k(A, A)\, k(B, B)}`. The kernel is then no longer extensive: it
        does not suit energies.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Raises
    ------
    SettingError, StructureError
        When called, if an argument has a value it cannot have, or there are no features of atoms.

    Notes
    -----
    Positive semi-definite for a base that is. Its diagonal grows with the square of the number of
    atoms; regularisers of :class:`kernchem.KRR` are relative to its mean.

    Cost O(n_pairs n_features) for the pairs of atoms that are compared. With ``Gaussian``,
    ``Linear`` and ``Polynomial`` bases that is one matrix product for each pair of elements, in
    the columns in which both sides have features; squared distances have an error of some 1e-16
    of the squared norms. Other bases are called on pairs of panels. Memory beside the result: the
    features once more in the columns in use, and 3 MiB per thread, however many atoms there are.
    ``Y`` keeps this copy as long as it lives, so that rows that follow cost no work on it alone.

    qmllib's ``get_local_kernel`` with ``sigma`` is the sum with ``Gaussian(sigma)``.

    References
    ----------
    A. P. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115 (2013),
    https://doi.org/10.1103/PhysRevB.87.184115

    Examples
    --------
    >>> from kernchem.environments import Environments
    >>> from kernchem.kernels import AtomSum, Gaussian
    >>> batch = Environments([[0.0], [1.0], [1.0]], [8, 1, 1], [0, 1, 3])
    >>> AtomSum(Gaussian())(batch)
    array([[1., 0.],
           [0., 4.]])
    """

    def __init__(
        self,
        base: Any,
        *,
        coupling: Coupling = "same",
        normalize: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.base = base
        self.coupling = coupling
        self.normalize = normalize
        self.n_jobs = n_jobs

    def _fill(
        self, X: Environments, Y: Environments | None, with_gradient: bool
    ) -> tuple[Matrix, Matrix]:
        n, m = len(X), len(X if Y is None else Y)
        weights, base = coupling_matrix(self.coupling), inner_kernel(self.base)
        out = np.zeros((n, m))
        slopes = np.zeros((len(self.theta) if with_gradient else 0, n, m))
        left = atom_groups(X)
        right = left if Y is None else kept_groups(Y)
        for rows in left:
            for columns in right:
                weight = float(weights[rows.element, columns.element])
                if weight != 0.0:
                    self._add(base, rows, columns, weight, X.n_features, Y is None, out, slopes)
        if Y is None:
            for matrix in (out, *slopes):
                mirror_panels(matrix, self.n_jobs)
        return out, np.moveaxis(slopes, 0, -1)

    def _self(self, X: Environments) -> Matrix:
        tiles = AtomTiles(self.base, self.coupling, X, X)
        runs = own_runs(X.offsets)
        values = np.empty(len(X))

        def fill(first: int, last: int) -> None:
            for start, stop in runs[first:last]:
                values[start:stop] = [C.sum() for C in tiles.within(start, stop)]

        run_panels(fill, len(runs), 1, self.n_jobs)
        return values

    def _add(
        self,
        base: Any,
        rows: AtomGroup,
        columns: AtomGroup,
        weight: float,
        n_features: int,
        symmetric: bool,
        out: Matrix,
        slopes: Matrix,
    ) -> None:
        """Add what two groups of atoms contribute, of a symmetric matrix below the diagonal."""
        panels = row_panels(rows, _PANEL)
        profile = product_profile(base)
        if profile is None:
            dense = None if sees_differences(base) else n_features
            left, right = on_all_columns((rows, columns), dense)
        else:
            left, right = on_shared_columns(rows, columns)

        def fill(first: int, last: int) -> None:
            for start, stop in panels[first:last]:
                width = len(columns.atoms)
                if symmetric:
                    width = columns.before(int(rows.owners[stop - 1]) + 1)
                for tile in column_tiles(width, _TILE):
                    owners = rows.owners[start:stop], columns.owners[tile]
                    if profile is None:
                        _add_any(base, left[start:stop], right[tile], weight, owners, out, slopes)
                        continue
                    products = left[start:stop] @ right[tile].T
                    structure_jit.add_products(
                        products,
                        rows.norms[start:stop],
                        columns.norms[tile],
                        *profile,
                        weight,
                        *owners,
                        len(slopes) > 0,
                        out,
                        slopes[0] if len(slopes) else out[:0],
                    )

        run_panels(fill, len(panels), 1, self.n_jobs)


class Average(AtomSum):
    r"""Mean over all pairs of atoms of two structures.

    .. math:: k(A, B) = \frac{1}{n_A n_B} \sum_{i \in A} \sum_{j \in B} S(Z_i, Z_j)\, f(q_i, q_j)

    :class:`AtomSum` over the numbers of atoms; intensive.

    Parameters
    ----------
    base : kernel
        Kernel f between rows of features, of :mod:`kernchem.kernels` or of scikit-learn.
        White noise is added outside: ``Average(...) + WhiteNoise()``.
    coupling : {"same", "all", "heavy"} or mapping of str to float, default "same"
        Pairs that are compared, as in :class:`AtomSum`.
    normalize : bool, default False
        Divide by :math:`\sqrt{k(A, A)\, k(B, B)}`.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Raises
    ------
    SettingError, StructureError
        When called, if an argument has a value it cannot have, or there are no features of atoms.

    Notes
    -----
    Positive semi-definite for a base that is. Cost and memory as of :class:`AtomSum`.

    References
    ----------
    S. De, A. P. Bartok, G. Csanyi, M. Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016),
    https://doi.org/10.1039/C6CP00415F

    Examples
    --------
    >>> from kernchem.environments import Environments
    >>> from kernchem.kernels import Average, Gaussian
    >>> batch = Environments([[0.0], [1.0], [1.0]], [8, 1, 1], [0, 1, 3])
    >>> Average(Gaussian(), coupling="all")(batch).round(4)
    array([[1.    , 0.6065],
           [0.6065, 1.    ]])
    """

    def _fill(
        self, X: Environments, Y: Environments | None, with_gradient: bool
    ) -> tuple[Matrix, Matrix]:
        K, gradient = super()._fill(X, Y, with_gradient)
        factor = 1.0 / np.outer(X.sizes, (X if Y is None else Y).sizes)
        K *= factor
        gradient *= factor[:, :, np.newaxis]
        return K, gradient

    def _self(self, X: Environments) -> Matrix:
        return super()._self(X) / X.sizes**2


def _add_any(
    base: Any,
    left: Matrix,
    right: Matrix,
    weight: float,
    owners: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    out: Matrix,
    slopes: Matrix,
) -> None:
    """Add a panel of a base kernel of any kind."""
    values, gradient = base_with_gradient(base, left, right, len(slopes) > 0)
    structure_jit.add_values(values, weight, *owners, out)
    for k in range(len(slopes)):
        part = np.ascontiguousarray(gradient[:, :, k])
        structure_jit.add_values(part, weight, *owners, slopes[k])


def _normalize(
    kernel: StructureKernel,
    X: Environments,
    Y: Environments | None,
    K: Matrix,
    gradient: Matrix,
) -> None:
    """Divide by the roots of the diagonals, in place."""
    if Y is None:
        own = other = np.sqrt(np.einsum("ii->i", K))
        # Where a structure is like nothing, not even itself, there is no slope either.
        squares = np.where(own > 0.0, own, 1.0)[:, None] ** 2
        slopes = np.einsum("iik->ik", gradient) / squares
    else:
        own, other = np.sqrt(kernel._self(X)), np.sqrt(kernel._self(Y))
        slopes = np.zeros((len(X), 0))
    scale = np.outer(own, other)
    scale[scale == 0.0] = 1.0
    K /= scale
    if gradient.shape[-1]:
        gradient /= scale[:, :, None]
        gradient -= 0.5 * K[:, :, None] * (slopes[:, None] + slopes[None])
    if Y is None:
        np.einsum("ii->i", K)[own > 0] = 1.0
