"""Kernels between structures that pair each atom of one with atoms of the other."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_positive, is_whole
from kernchem.environments import Environments
from kernchem.errors import KernchemWarning, SettingError
from kernchem.kernels import matching_jit
from kernchem.kernels.atom_tiles import AtomTiles, own_runs, structure_runs
from kernchem.kernels.coupling import Coupling
from kernchem.kernels.features import Matrix, mirror_panels
from kernchem.kernels.structure import StructureKernel

__all__ = ["BestMatch", "REMatch"]

# Atoms per panel of rows, at least and at most, and per tile of columns. Wide ones make the most of
# products of matrices; many panels give threads equal shares.
_PANEL = 64
_WIDE_PANEL = 512
_SHARES = 32
_TILE = 1024
#: Columns where derivatives of a base kernel come with those among the atoms of both sides.
_NARROW_TILE = 256


class _Matching(StructureKernel):
    """Base class of kernels that are found for one pair of structures after the other."""

    positive_semidefinite = False

    @abstractmethod
    def _match(
        self,
        tile: tuple[Matrix, Matrix],
        offsets: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        corner: tuple[int, int],
        symmetric: bool,
        out: Matrix,
        slopes: Matrix,
    ) -> tuple[int, float]:
        """Fill the pairs of a tile; return how many failed, and the largest error of these."""

    def _report(self, failures: list[tuple[int, float]]) -> None:
        """Warn of pairs that failed."""

    def _fill(
        self, X: Environments, Y: Environments | None, with_gradient: bool
    ) -> tuple[Matrix, Matrix]:
        right = X if Y is None else Y
        n_slopes = len(self.theta) if with_gradient else 0
        tiles = AtomTiles(self.base, self.coupling, X, right)
        height, width = max(_PANEL, min(len(X.numbers) // _SHARES, _WIDE_PANEL)), _TILE
        if n_slopes and tiles.profile is None:
            height, width = _PANEL, _NARROW_TILE
        out = np.zeros((len(X), len(right)))
        slopes = np.zeros((n_slopes, *out.shape))
        # The last panels of a triangle are the longest, so they go first.
        panels = structure_runs(X.offsets, height)[:: -1 if Y is None else 1]
        failures: list[tuple[int, float]] = []

        def fill(first: int, last: int) -> None:
            for rows in panels[first:last]:
                end = rows[1] if Y is None else len(right)
                for columns in structure_runs(right.offsets[: end + 1], width):
                    offsets = _inside(X.offsets, rows), _inside(right.offsets, columns)
                    tile = tiles.between(rows, columns, n_slopes)
                    corner = rows[0], columns[0]
                    failures.append(self._match(tile, offsets, corner, Y is None, out, slopes))

        run_panels(fill, len(panels), 1, self.n_jobs)
        if Y is None:
            for matrix in (out, *slopes):
                mirror_panels(matrix, self.n_jobs)
        self._report(failures)
        return out, np.moveaxis(slopes, 0, -1)

    def _self(self, X: Environments) -> Matrix:
        tiles = AtomTiles(self.base, self.coupling, X, X)
        runs = own_runs(X.offsets)
        values = np.empty(len(X))
        failures: list[tuple[int, float]] = []

        def fill(first: int, last: int) -> None:
            out, none = np.empty((1, 1)), np.empty((0, 1, 1))
            for start, stop in runs[first:last]:
                for k, C in enumerate(tiles.within(start, stop), start):
                    bounds = np.array([0, len(C)])
                    tile = C, np.empty((0, *C.shape))
                    failures.append(self._match(tile, (bounds, bounds), (0, 0), True, out, none))
                    values[k] = out[0, 0]

        run_panels(fill, len(runs), 1, self.n_jobs)
        self._report(failures)
        return values


class BestMatch(_Matching):
    r"""Similarity of the best one-to-one matching of the atoms of two structures.

    .. math::

        k(A, B) = \frac{1}{\sqrt{n_A n_B}} \max_{\pi} \sum_{(i, j) \in \pi} S(Z_i, Z_j)\,
        f(q_i, q_j)

    over all sets of pairs in which no atom is met twice. Atoms without a partner count 0.

    Parameters
    ----------
    base : kernel
        Kernel f between rows of features, of :mod:`kernchem.kernels` or of scikit-learn.
        White noise is added outside: ``BestMatch(...) + WhiteNoise()``.
    coupling : {"same", "all", "heavy"} or mapping of str to float, default "same"
        Pairs that may be matched: of the same element, all ("alchemical" matching), or all without
        hydrogen; or weights S by name, e.g. ``{"C-N": 0.5}``, beside 1 for the same element.
    normalize : bool, default False
        Divide by :math:`\sqrt{k(A, A)\, k(B, B)}`, which are 1 already for a base kernel that is 1
        between an atom and itself.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Raises
    ------
    SettingError, StructureError
        When called, if an argument has a value it cannot have, or there are no features of atoms.

    Notes
    -----
    **Not positive semi-definite** in general: a matrix may have negative eigenvalues, of some
    percent of the largest in bad cases. Kernel ridge regression then needs a larger ``alpha``, and
    refuses with the smallest eigenvalue in the message where it is too small; variances of
    Gaussian processes are not guaranteed. Symmetric up to rounding, and continuous; derivatives
    with respect to hyperparameters are those at the best matching, which jump where it changes.

    Cost O(n_A^2 n_B) for each pair, n_A <= n_B (Hungarian method), beside the similarities of the
    atoms. Memory beside the result: the features once more in the columns in use, and 10 MiB per
    thread (16 with derivatives), or the similarities of one pair of structures where they need
    more.

    References
    ----------
    S. De, A. P. Bartok, G. Csanyi, M. Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016),
    https://doi.org/10.1039/C6CP00415F

    Examples
    --------
    >>> from kernchem.environments import Environments
    >>> from kernchem.kernels import BestMatch, Gaussian
    >>> batch = Environments([[0.0], [1.0], [1.0], [0.0]], [6, 6, 6, 6], [0, 2, 3, 4])
    >>> BestMatch(Gaussian())(batch).round(4)
    array([[1.    , 0.7071, 0.7071],
           [0.7071, 1.    , 0.6065],
           [0.7071, 0.6065, 1.    ]])
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

    def _match(
        self,
        tile: tuple[Matrix, Matrix],
        offsets: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        corner: tuple[int, int],
        symmetric: bool,
        out: Matrix,
        slopes: Matrix,
    ) -> tuple[int, float]:
        matching_jit.fill_matches(*tile, *offsets, corner, symmetric, out, slopes)
        return 0, 0.0


class REMatch(_Matching):
    r"""Regularised entropy match of the atoms of two structures.

    .. math::

        k(A, B) = \sum_{ij} P_{ij} C_{ij}, \qquad C_{ij} = S(Z_i, Z_j)\, f(q_i, q_j)

    with the plan P of rows that sum to :math:`1/n_A` and columns that sum to :math:`1/n_B` for
    which :math:`\sum_{ij} P_{ij} (C_{ij} - \gamma \ln P_{ij})` is largest. Between the best match
    of all atoms (small :math:`\gamma`) and the average of all pairs (large :math:`\gamma`).

    Parameters
    ----------
    base : kernel
        Kernel f between rows of features, of :mod:`kernchem.kernels` or of scikit-learn.
        White noise is added outside: ``REMatch(...) + WhiteNoise()``.
    gamma : float, default 0.1
        Weight of the entropy, in the units of f, > 0. Not among the hyperparameters that are
        optimised.
    coupling : {"same", "all", "heavy"} or mapping of str to float, default "same"
        Pairs that are compared: of the same element, all ("alchemical" matching), or all without
        hydrogen; or weights S by name, e.g. ``{"C-N": 0.5}``, beside 1 for the same element. Others
        have C = 0, and still take part in the plan.
    normalize : bool, default True
        Divide by :math:`\sqrt{k(A, A)\, k(B, B)}`.
    tol : float, default 1e-10
        Largest error of a sum of P over a row, or what rounding leaves of it if that is more.
    max_iter : int, default 1000
        Iterations for each pair of structures.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Raises
    ------
    SettingError, StructureError
        When called, if an argument has a value it cannot have, or there are no features of atoms.

    Warns
    -----
    KernchemWarning
        If plans are not converged after ``max_iter`` iterations, with their number.

    Notes
    -----
    **Not positive semi-definite** in general: a matrix may have negative eigenvalues, of some
    percent of the largest in bad cases. Kernel ridge regression then needs a larger ``alpha``, and
    refuses with the smallest eigenvalue in the message where it is too small; variances of
    Gaussian processes are not guaranteed. Each pair of structures is solved once: a matrix of one
    batch is exactly symmetric, K(X, Y) and the transpose of K(Y, X) differ by what ``tol`` leaves:
    one error for each row of a plan, some 1e-9 in all at the default.

    Sinkhorn's iterations run on logarithms, for a small ``gamma`` by way of larger ones, and steps
    of Newton's method end them; no number overflows however small ``gamma`` is. Derivatives with
    respect to hyperparameters include those of the plan; links between groups of atoms that are
    lost in rounding add nothing to them.

    Cost of an iteration O(n_A n_B) exponentials, and O(n_A^2 n_B) for Newton's, n_A <= n_B; some
    ten iterations are usual. Memory as of :class:`BestMatch`.

    DScribe's ``REMatchKernel`` with ``alpha`` for ``gamma`` is the same kernel with
    ``coupling="all"``, up to its looser convergence.

    References
    ----------
    S. De, A. P. Bartok, G. Csanyi, M. Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016),
    https://doi.org/10.1039/C6CP00415F

    M. Cuturi, Advances in Neural Information Processing Systems 26, 2292 (2013),
    https://doi.org/10.48550/arXiv.1306.0895

    Examples
    --------
    >>> from kernchem.environments import Environments
    >>> from kernchem.kernels import Gaussian, REMatch
    >>> batch = Environments([[0.0], [1.0], [1.0], [0.0]], [6, 6, 6, 6], [0, 2, 3, 4])
    >>> REMatch(Gaussian(), gamma=0.5)(batch).round(4)
    array([[1.    , 0.8578, 0.8578],
           [0.8578, 1.    , 0.6065],
           [0.8578, 0.6065, 1.    ]])
    """

    _normalize_default = True

    def __init__(
        self,
        base: Any,
        *,
        gamma: float = 0.1,
        coupling: Coupling = "same",
        normalize: bool = True,
        tol: float = 1e-10,
        max_iter: int = 1000,
        n_jobs: int | None = None,
    ) -> None:
        self.base = base
        self.gamma = gamma
        self.coupling = coupling
        self.normalize = normalize
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    def _check(self) -> None:
        super()._check()
        for name in ("gamma", "tol"):
            if not is_positive(getattr(self, name)):
                raise SettingError(f"{name}={getattr(self, name)!r}; use a number above zero")
        if not is_whole(self.max_iter, 1):
            raise SettingError(f"max_iter={self.max_iter!r}; use a whole number above zero")

    def _other_settings(self) -> list[str]:
        return [f"gamma={self.gamma:.3g}" if is_positive(self.gamma) else f"gamma={self.gamma!r}"]

    def _match(
        self,
        tile: tuple[Matrix, Matrix],
        offsets: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        corner: tuple[int, int],
        symmetric: bool,
        out: Matrix,
        slopes: Matrix,
    ) -> tuple[int, float]:
        settings = float(self.gamma), float(self.tol), int(self.max_iter)
        found = matching_jit.fill_transport(
            *tile, *offsets, corner, symmetric, out, slopes, *settings
        )
        return int(found[0]), float(found[1])

    def _report(self, failures: list[tuple[int, float]]) -> None:
        failed = sum(number for number, _ in failures)
        if failed:
            warnings.warn(
                f"{failed} pairs of structures have plans whose sums are wrong by up to "
                f"{max(error for _, error in failures):.1e} after max_iter={self.max_iter} "
                f"iterations (tol={self.tol:.1e}): raise max_iter, or gamma={self.gamma:.3g}",
                KernchemWarning,
                stacklevel=4,
            )


def _inside(offsets: npt.NDArray[np.int64], run: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return where the structures of a run begin and end among its atoms."""
    return np.asarray(offsets[run[0] : run[1] + 1] - offsets[run[0]])
