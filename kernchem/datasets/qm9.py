"""QM9: 134 thousand small organic molecules at B3LYP/6-31G(2df,p)."""

from __future__ import annotations

import itertools
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._columns import objects
from kernchem._xyz import GDB9_PROPERTIES, PARSER_ERRORS, parse_gdb9
from kernchem.datasets.archives import tar_members
from kernchem.datasets.cache import data_home, make_folder, progress_bar, write_atomically
from kernchem.datasets.registry import Dataset, register
from kernchem.datasets.remote import RemoteFile, fetch_file, local_path, sha256
from kernchem.elements import MAX_ATOMIC_NUMBER, formula
from kernchem.errors import (
    DatasetError,
    FileFormatError,
    KernchemError,
    KernchemWarning,
    UnknownElementError,
)
from kernchem.structure import Structure
from kernchem.structures import Structures
from kernchem.units import energy_factor

__all__ = ["fetch_qm9"]

#: Sizes and MD5 as figshare states them for its articles 1057646 and 1057644. The address is the
#: one for programs: that of the web site answers them with an empty page.
ARCHIVE = RemoteFile(
    name="qm9/dsgdb9nsd.xyz.tar.bz2",
    url="https://ndownloader.figshare.com/files/3195389",
    begins=b"BZh",
    md5="ad1ebd51ee7f5b3a6e32e974e5d54012",
    size=86_144_227,
)
UNCHARACTERIZED = RemoteFile(
    name="qm9/uncharacterized.txt",
    url="https://ndownloader.figshare.com/files/3195404",
    md5="a361887bacb427b8a0ce7903d92a53b4",
    size=486_752,
    otherwise="beside the archive that you pass as path=; or keep all molecules with "
    "keep_uncharacterized=True (kernchem datasets fetch qm9 --keep-uncharacterized)",
)

#: Free atoms in hartree, from atomref.txt of the same collection (figshare article 1057643).
_FREE_ATOMS = {
    "u0": {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579, 9: -99.718730},
    "u298": {1: -0.498857, 6: -37.845355, 7: -54.582445, 8: -75.063163, 9: -99.717314},
    "h298": {1: -0.497912, 6: -37.844411, 7: -54.581501, 8: -75.062219, 9: -99.716370},
    "g298": {1: -0.510927, 6: -37.861317, 7: -54.598897, 8: -75.079532, 9: -99.733544},
}
_ENERGIES = ("homo", "lumo", "gap", "zpve", *_FREE_ATOMS)
_TEXTS = ("smiles", "smiles_relaxed", "inchi", "inchi_relaxed")

#: Published records have up to 29 atoms, and 4 kB.
_LARGEST_RECORD = 2**16
#: The published archive unpacks to half a gigabyte.
_LARGEST_ARCHIVE = 2**31
#: Arrays that are stored, one row per molecule, per atom or per vibration.
_PER_MOLECULE = ("id", *GDB9_PROPERTIES, *_TEXTS)
_STORED = {
    *_PER_MOLECULE,
    "sizes",
    "modes",
    "numbers",
    "positions",
    "mulliken_charges",
    "frequencies",
}

#: Records that are held as objects at a time.
_BATCH = 4096

_Columns = dict[str, npt.NDArray[Any]]


def fetch_qm9(
    *,
    unit: str = "kcal/mol",
    keep_uncharacterized: bool = False,
    path: str | os.PathLike[str] | None = None,
) -> Structures:
    """Return QM9: molecules of up to nine C, N, O and F atoms, and H, at B3LYP minima.

    The archive (86 MB) is downloaded at the first call, into the folder that :func:`data_home`
    names, and read; what was read is stored beside it.

    Parameters
    ----------
    unit : str, default "kcal/mol"
        Unit of all energies: one of :data:`kernchem.units.ENERGY_UNITS`. Published in hartree.
    keep_uncharacterized : bool, default False
        Keep the 3054 molecules whose relaxed geometry is another molecule than its SMILES says.
    path : str or path-like, optional
        An archive ``dsgdb9nsd.xyz.tar.bz2`` that is here already, or a folder of the files
        unpacked from it. A file ``uncharacterized.txt`` that lies there is used too; where there
        is none it is downloaded, unless all molecules are kept.

    Returns
    -------
    Structures
        130,831 molecules, or all 133,885, of 3 to 29 atoms, in the order of ``id``. Properties:

        ======================================= ============ =======================================
        name                                    unit         meaning
        ======================================= ============ =======================================
        ``u0``, ``u298``                        ``unit``     internal energy at 0 and 298.15 K
        ``h298``, ``g298``                      ``unit``     enthalpy and free energy at 298.15 K
        ``u0_atom``, ``u298_atom``,             ``unit``     the same minus the free atoms; negative
        ``h298_atom``, ``g298_atom``                         = bound
        ``zpve``                                ``unit``     zero-point vibrational energy
        ``homo``, ``lumo``, ``gap``             ``unit``     orbital energies
        ``A``, ``B``, ``C``                     GHz          rotational constants
        ``mu``                                  debye        norm of the dipole moment
        ``alpha``                               bohr^3       isotropic polarisability
        ``r2``                                  bohr^2       electronic spatial extent
        ``cv``                                  cal/mol/K    heat capacity at 298.15 K
        ``frequencies``                         1/cm         of vibrations, an array of objects
        ``mulliken_charges``                    e            one per atom
        ``smiles``, ``inchi``                                molecular graph, as enumerated
        ``smiles_relaxed``, ``inchi_relaxed``                the same, of the relaxed geometry
        ``id``                                               number in GDB-9, from 1
        ======================================= ============ =======================================

    Raises
    ------
    DatasetError
        If a file cannot be downloaded, or is not the published one.
    FileFormatError
        If an archive or a record in it cannot be read.
    FileNotFoundError
        If there is no ``path``.
    SettingError
        If ``unit`` is not an energy unit.

    Notes
    -----
    Reading 134 thousand records takes about a minute, loading what was stored two seconds. A
    folder is read at each call, as nothing says whether it has changed.

    The sources are figshare's articles 1057646 (archive) and 1057644 (molecules left out); the free
    atoms are those of ``atomref.txt``, article 1057643. Their licence is CC0.

    References
    ----------
    R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Sci. Data 1, 140022 (2014),
    https://doi.org/10.1038/sdata.2014.22

    L. Ruddigkeit, R. van Deursen, L. C. Blum, J.-L. Reymond, J. Chem. Inf. Model. 52, 2864 (2012),
    https://doi.org/10.1021/ci300415d

    Examples
    --------
    >>> from kernchem.datasets import fetch_qm9
    >>> data = fetch_qm9(unit="eV")  # doctest: +SKIP
    >>> data["u0_atom"][data["smiles"] == "C"].round(2)  # doctest: +SKIP
    array([-17.17])
    """
    factor = energy_factor("Ha", unit)
    if path is None:
        source, digest = fetch_file(ARCHIVE)
    else:
        source = local_path(path)
        digest = "" if source.is_dir() else sha256(source)
    columns = _cached_columns(source, digest) if digest else _read_columns(source)
    left_out: set[int] = set()
    if not keep_uncharacterized:
        beside = (source if source.is_dir() else source.parent) / "uncharacterized.txt"
        given = path is not None and beside.exists()
        left_out = _read_uncharacterized(beside if given else fetch_file(UNCHARACTERIZED)[0])
    data = _structures(source, columns, factor)
    rows = np.argsort(data["id"], kind="stable")
    rows = rows[~np.isin(data["id"][rows], list(left_out))]
    return data if np.array_equal(rows, np.arange(len(data))) else data[rows]


def _read_uncharacterized(path: Path) -> set[int]:
    """Return the numbers that begin the rows of the list; no line of its header begins with one."""
    words = [line.split()[:1] for line in path.read_text("utf-8", "replace").splitlines()]
    numbers = {int(word) for row in words for word in row if re.fullmatch(r"[0-9]{1,9}", word)}
    if not numbers:
        raise FileFormatError(
            f"{path}: no line of it begins with a number; expected the published list of "
            "molecules, or keep_uncharacterized=True (kernchem datasets fetch qm9 "
            "--keep-uncharacterized)"
        )
    return numbers


def _cached_columns(source: Path, digest: str) -> _Columns:
    """Return the columns of an archive, stored at an earlier call if there was one."""
    store = data_home() / "qm9" / f"parsed-{digest[:16]}.npz"
    stored = _load(store, digest)
    if stored is not None:
        return stored
    columns = _read_columns(source)
    packed: dict[str, Any] = {
        name: np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values
        for name, values in columns.items()
    }
    try:
        make_folder(store.parent)
        write_atomically(store, lambda file: np.savez(file, digest=np.array(digest), **packed))
    except (DatasetError, OSError) as error:
        warnings.warn(
            f"what was read from {source} cannot be stored as {store} ({error}); it will be read "
            "again at the next call",
            KernchemWarning,
            stacklevel=3,
        )
    return columns


def _load(store: Path, digest: str) -> _Columns | None:
    """Return stored columns; None if there are none, or none of this archive."""
    try:
        with np.load(store, allow_pickle=False) as archive:
            columns = dict(archive.items())
        if str(columns.pop("digest")) != digest or columns.keys() != _STORED:
            return None
        return {
            name: np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
            for name, values in columns.items()
        }
    except (*PARSER_ERRORS, zipfile.BadZipFile):
        return None


def _read_columns(source: Path) -> _Columns:
    """Return all records as flat arrays, in the order in which they lie there."""
    records = _records(source)
    batches = []
    while batch := list(itertools.islice(records, _BATCH)):
        batches.append(_columns(batch))
    if not batches:
        raise FileFormatError(
            f"{source}: there is no .xyz file in it; expected the published records of GDB-9"
        )
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    ids, counts = np.unique(columns["id"], return_counts=True)
    if (counts > 1).any():
        raise FileFormatError(
            f"{source}: there are {counts.max()} records with the number {ids[counts.argmax()]}; "
            "expected one of each"
        )
    return columns


def _columns(records: list[Structure]) -> _Columns:
    def flat(name: str) -> npt.NDArray[Any]:
        return np.concatenate([record.properties[name] for record in records])

    columns: _Columns = {
        "numbers": np.concatenate([record.numbers for record in records]).astype(np.uint8),
        "sizes": np.array([len(record.numbers) for record in records]),
        "positions": np.concatenate([record.positions for record in records]),
        "mulliken_charges": np.concatenate(
            [record.atom_properties["mulliken_charges"] for record in records]
        ),
        "frequencies": flat("frequencies"),
        "modes": np.array([len(record.properties["frequencies"]) for record in records]),
    }
    for name in _PER_MOLECULE:
        columns[name] = np.array([record.properties[name] for record in records])
    return columns


def _records(source: Path) -> Iterator[Structure]:
    """Yield the records of an archive or a folder."""
    if not source.is_dir():
        members = tar_members(source, _is_record, largest=_LARGEST_RECORD, total=_LARGEST_ARCHIVE)
        for name, content in members:
            yield _record(content, source / name)
        return
    paths = sorted(path for path in source.glob("*.xyz") if _is_record(path.name))
    done = 0
    with progress_bar(f"reading {source.name}", sum(p.stat().st_size for p in paths)) as advance:
        for path in paths:
            content = path.read_bytes()
            yield _record(content, path)
            done += len(content)
            advance(done)


def _is_record(name: str) -> bool:
    return name.endswith(".xyz") and not name.startswith(".")


def _record(content: bytes, path: Path) -> Structure:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: it is no text ({error}); the file is damaged") from None
    record = parse_gdb9(text, path)
    if record.properties["id"] >= 10**9:
        raise FileFormatError(f"{path}: {record.properties['id']} is no number of GDB-9")
    return record


def _structures(source: Path, columns: _Columns, factor: float) -> Structures:
    """Return columns as checked molecules, energies multiplied by ``factor``."""
    try:
        numbers, sizes = columns["numbers"].astype(np.int64), columns["sizes"]
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        properties = {name: columns[name] for name in _PER_MOLECULE}
        for name, free in _FREE_ATOMS.items():
            free_atoms = _free_atom_sums(numbers, offsets, free)
            properties[f"{name}_atom"] = (properties[name] - free_atoms) * factor
        for name in _ENERGIES:
            properties[name] = properties[name] * factor
        ends = np.cumsum(columns["modes"])[:-1]
        properties["frequencies"] = objects(np.split(columns["frequencies"], ends))
        return Structures(
            numbers,
            columns["positions"],
            offsets,
            properties=properties,
            atom_properties={"mulliken_charges": columns["mulliken_charges"]},
        )
    except KernchemError as error:
        raise type(error)(f"{source}: {error}") from None


def _free_atom_sums(
    numbers: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], free: dict[int, float]
) -> npt.NDArray[np.float64]:
    """Return the energy of the free atoms of each molecule."""
    energies = np.full(MAX_ATOMIC_NUMBER + 1, np.nan)
    energies[list(free)] = list(free.values())
    sums = np.add.reduceat(energies[numbers], offsets[:-1])
    if np.isnan(sums).any():
        k = int(np.flatnonzero(np.isnan(sums))[0])
        atoms = numbers[offsets[k] : offsets[k + 1]]
        raise UnknownElementError(
            f"structure {k}: {formula(atoms)} holds an element other than H, C, N, O and F, of "
            "which GDB-9 consists"
        )
    return sums


register(
    Dataset(
        name="qm9",
        loader=fetch_qm9,
        summary="small organic molecules (C N O F, up to 9, and H), B3LYP/6-31G(2df,p)",
        n_structures=130_831,
        target="u0_atom",
        files=(ARCHIVE, UNCHARACTERIZED),
        properties=(
            ("u0, u298", "Ha", "internal energy at 0 and 298.15 K"),
            ("h298, g298", "Ha", "enthalpy, free energy at 298.15 K"),
            ("u0_atom, u298_atom", "Ha", "the same minus the free atoms"),
            ("h298_atom, g298_atom", "Ha", "the same minus the free atoms"),
            ("zpve", "Ha", "zero-point vibrational energy"),
            ("homo, lumo, gap", "Ha", "orbital energies"),
            ("A, B, C", "GHz", "rotational constants"),
            ("mu", "debye", "norm of the dipole moment"),
            ("alpha", "bohr^3", "isotropic polarisability"),
            ("r2", "bohr^2", "electronic spatial extent"),
            ("cv", "cal/mol/K", "heat capacity at 298.15 K"),
            ("frequencies", "1/cm", "of vibrations"),
            ("mulliken_charges", "e", "one per atom"),
            ("smiles, inchi", "", "molecular graph, as enumerated"),
            ("smiles_relaxed, inchi_relaxed", "", "molecular graph, relaxed"),
            ("id", "", "number in GDB-9"),
        ),
        citation="R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Sci. Data 1, 140022 "
        "(2014), https://doi.org/10.1038/sdata.2014.22",
        licence="CC0",
    )
)
