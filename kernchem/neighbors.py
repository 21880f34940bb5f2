"""Which atoms are near which, on plain arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["find_contact"]


def find_contact(
    positions: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    threshold: float,
    cells: npt.NDArray[np.float64] | None = None,
    pbc: npt.NDArray[np.bool_] | None = None,
) -> tuple[int, int, int] | None:
    """Return the first pair of atoms of one molecule that are nearer than ``threshold``.

    Parameters
    ----------
    positions : array (n_atoms, 3)
        Angstrom, molecule after molecule.
    offsets : array (n_molecules + 1,)
        First atom of each molecule.
    threshold : float
        Angstrom.
    cells : array (n_molecules, 3, 3), optional
        Cell vectors as rows, angstrom.
    pbc : array (n_molecules, 3), optional
        Which cell vectors are periodic.

    Returns
    -------
    (molecule, i, j) or None
        Indices of the molecule and of two of its atoms, ``i < j``. Cost O(sum of squared sizes).
    """
    from kernchem import neighbors_jit

    found: Any
    if cells is None or pbc is None or not pbc.any():
        found = neighbors_jit.first_contact(positions, offsets, threshold)
    else:
        # A vector of an axis that is not periodic may be zero: any complement makes it invertible.
        complete = _completed_cells(cells)
        found = neighbors_jit.first_contact_periodic(
            positions, offsets, complete, np.linalg.inv(complete), pbc, threshold
        )
    return None if found[0] < 0 else (int(found[0]), int(found[1]), int(found[2]))


def _completed_cells(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from ase.geometry import complete_cell

    return np.array([complete_cell(cell) for cell in cells])
