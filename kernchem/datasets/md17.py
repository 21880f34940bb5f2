"""The revised MD17: molecular dynamics of ten molecules, at PBE/def2-SVP."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernchem._validation import is_whole, short
from kernchem.datasets.archives import tar_members
from kernchem.datasets.cache import data_home, make_folder, write_atomically
from kernchem.datasets.registry import Dataset, register
from kernchem.datasets.remote import RemoteFile, fetch_file, local_path, sha256
from kernchem.elements import formula
from kernchem.errors import DatasetError, FileFormatError, SettingError
from kernchem.io import read
from kernchem.structures import Structures
from kernchem.units import energy_factor

__all__ = ["MD17_MOLECULES", "fetch_md17", "md17_split"]

#: Size and MD5 as figshare states them for its article 12672038, version 3. The address is the one
#: for programs: that of the web site answers them with an empty page.
ARCHIVE = RemoteFile(
    name="md17/rmd17.tar.bz2",
    url="https://ndownloader.figshare.com/files/23950376",
    begins=b"BZh",
    md5="cb1a927628d96f2e966025da4fb63d18",
    size=1_066_301_513,
)

#: Formulas of the molecules, by which a file is recognised.
_FORMULAS = {
    "aspirin": "C9H8O4",
    "azobenzene": "C12H10N2",
    "benzene": "C6H6",
    "ethanol": "C2H6O",
    "malonaldehyde": "C3H4O2",
    "naphthalene": "C10H8",
    "paracetamol": "C8H9NO2",
    "salicylic": "C7H6O3",
    "toluene": "C7H8",
    "uracil": "C4H4N2O2",
}

#: The molecules of the revised MD17, as its files are named.
MD17_MOLECULES = tuple(_FORMULAS)

_ENERGIES = ("energies", "old_energies")
_FORCES = ("forces", "old_forces")
_SPLITS = 5

#: The largest published member has 173 MB, and all of them 1.2 GB.
_LARGEST_MEMBER = 2**29
_LARGEST_ARCHIVE = 2**32


def fetch_md17(
    molecule: str, *, unit: str = "kcal/mol", path: str | os.PathLike[str] | None = None
) -> Structures:
    """Return one molecule of the revised MD17: 100,000 frames with energies and forces.

    The archive of all ten molecules (1.1 GB) is downloaded at the first call, into the folder that
    :func:`data_home` names; the frames of a molecule are taken out of it at the first call for
    that molecule, and kept beside it.

    Parameters
    ----------
    molecule : str
        ``"aspirin"``, ``"azobenzene"``, ``"benzene"``, ``"ethanol"``, ``"malonaldehyde"``,
        ``"naphthalene"``, ``"paracetamol"``, ``"salicylic"`` (acid), ``"toluene"`` or
        ``"uracil"``.
    unit : str, default "kcal/mol"
        Unit of all energies: one of :data:`kernchem.units.ENERGY_UNITS`. Published in kcal/mol.
    path : str or path-like, optional
        An archive ``rmd17.tar.bz2`` that is here already, a folder unpacked from it, or a file
        ``rmd17_<molecule>.npz``.

    Returns
    -------
    Structures
        100,000 frames (azobenzene: 99,988), in the order of the file. Properties, named as there:

        ================ =============== ======================================================
        name             unit            meaning
        ================ =============== ======================================================
        ``energies``     ``unit``        PBE/def2-SVP total energy
        ``forces``       ``unit`` / A    minus its gradient, (n_atoms, 3)
        ``old_indices``                  number of the frame in the original MD17
        ``old_energies`` ``unit``        energy in the original MD17
        ``old_forces``   ``unit`` / A    forces in the original MD17, (n_atoms, 3)
        ================ =============== ======================================================

    Raises
    ------
    DatasetError
        If the archive cannot be downloaded, or is not the published one.
    FileFormatError
        If an archive or file cannot be read, or holds another molecule.
    FileNotFoundError
        If there is no ``path``.
    SettingError
        If ``unit`` is not an energy unit, or ``molecule`` none of the ten.

    Notes
    -----
    The frames come from trajectories, so that neighbours are alike: a random split tells little
    about other conformations. The authors ask not to train on more than 1000 frames;
    :func:`md17_split` gives their splits. Going through the archive takes a minute or two,
    loading what was kept a few seconds. The source, figshare's article 12672038 (version 3), is
    under CC0.

    References
    ----------
    A. S. Christensen, O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020),
    https://doi.org/10.1088/2632-2153/abba6f

    S. Chmiela, A. Tkatchenko, H. E. Sauceda, I. Poltavsky, K. T. Schütt, K.-R. Müller, Sci. Adv. 3,
    e1603015 (2017), https://doi.org/10.1126/sciadv.1603015

    Examples
    --------
    >>> from kernchem.datasets import fetch_md17, md17_split
    >>> data = fetch_md17("ethanol", unit="eV")  # doctest: +SKIP
    >>> train, test = (data[rows] for rows in md17_split(1))  # doctest: +SKIP
    """
    factor = energy_factor("kcal/mol", unit)
    if not isinstance(molecule, str) or molecule not in _FORMULAS:
        raise SettingError(
            f"molecule={short(molecule)} is not in the revised MD17; use one of "
            f"{', '.join(MD17_MOLECULES)}"
        )
    source = _frames_file(molecule, path)
    data = read(source, format="npz")
    _check(source, molecule, data)
    factors = dict.fromkeys((*_ENERGIES, *_FORCES), factor)
    properties = {
        name: values * factors[name] if name in factors else values
        for name, values in data.properties.items()
    }
    return Structures._unchecked(**(data._fields() | {"properties": properties}))


def md17_split(
    number: int, *, path: str | os.PathLike[str] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return one of the five published splits of the revised MD17.

    Parameters
    ----------
    number : int
        1 to 5.
    path : str or path-like, optional
        An archive ``rmd17.tar.bz2`` that is here already, or a folder unpacked from it.

    Returns
    -------
    train : array (1000,)
        Rows of :func:`fetch_md17` to train on, the same for every molecule.
    test : array (1000,)
        Rows to test on.

    Raises
    ------
    DatasetError
        If the archive cannot be downloaded, or is not the published one.
    FileFormatError
        If the archive or a list in it cannot be read.
    FileNotFoundError
        If there is no ``path``.
    SettingError
        If ``number`` is not 1 to 5.

    Notes
    -----
    The lists lie in the same archive as the frames. Going through it takes a minute or two, and is
    done once.
    """
    if not is_whole(number, 1) or number > _SPLITS:
        raise SettingError(f"number={short(number)}: there are the splits 1 to {_SPLITS}")
    names = [f"index_{part}_{number:02d}.csv" for part in ("train", "test")]
    source, digest = _source(path)
    if source.is_dir():
        files = [_in_folder(source, ("splits", "rmd17/splits", ""), name) for name in names]
    else:
        files = [_taken_out(source, digest, name) for name in names]
    train, test = (_read_rows(file) for file in files)
    return train, test


def _source(path: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Return the archive, file or folder to read from; and the SHA-256 of what is no folder."""
    if path is None:
        return fetch_file(ARCHIVE)
    source = local_path(path)
    return source, "" if source.is_dir() else sha256(source)


def _frames_file(molecule: str, path: str | os.PathLike[str] | None) -> Path:
    """Return the ``.npz`` of one molecule."""
    if path is not None and Path(path).suffix == ".npz":
        return local_path(path)
    source, digest = _source(path)
    name = f"rmd17_{molecule}.npz"
    if source.is_dir():
        return _in_folder(source, ("npz_data", "rmd17/npz_data", ""), name)
    return _taken_out(source, digest, name)


def _in_folder(folder: Path, places: tuple[str, ...], name: str) -> Path:
    for place in places:
        if (folder / place / name).is_file():
            return folder / place / name
    raise FileFormatError(
        f"{folder}: there is no {name} in this folder; expected what rmd17.tar.bz2 unpacks to"
    )


def _taken_out(archive: Path, digest: str, name: str) -> Path:
    """Return a copy of a member in the cache folder, made if there is none yet.

    Its name tells the archive it is from and the content it must have. The lists of rows, which
    are small, are taken out together.
    """
    stem, _, suffix = name.partition(".")
    folder = data_home() / "md17"
    for copy in folder.glob(f"{stem}-{digest[:16]}-*.{suffix}"):
        if copy.stem.endswith(sha256(copy)[:16]):
            return copy
    make_folder(folder)
    lists = re.compile(r"index_(train|test)_0[1-5]\.csv")

    def wanted(member: str) -> bool:
        return member == name or (suffix == "csv" and lists.fullmatch(member) is not None)

    found: dict[str, Path] = {}
    members = tar_members(archive, wanted, largest=_LARGEST_MEMBER, total=_LARGEST_ARCHIVE)
    with contextlib.closing(members):
        for member, content in members:
            own = hashlib.sha256(content).hexdigest()
            copy = folder / f"{Path(member).stem}-{digest[:16]}-{own[:16]}.{suffix}"
            _store(copy, content)
            found[member] = copy
            if suffix == "npz":
                break
    if name not in found:
        raise FileFormatError(
            f"{archive}: there is no {name} in it; expected the published rmd17.tar.bz2"
        )
    return found[name]


def _store(copy: Path, content: bytes) -> None:
    try:
        write_atomically(copy, lambda file: file.write(content))
    except OSError as error:
        raise DatasetError(
            f"{copy} cannot be written ({error.strerror or error}); make room there, or name "
            "another folder in the environment variable KERNCHEM_DATA_HOME"
        ) from error


def _check(source: Path, molecule: str, data: Structures) -> None:
    """Raise unless all frames are the molecule asked for, with all labels."""
    same = (data.sizes == data.sizes[0]).all()
    rows = data.numbers.reshape(len(data), -1) if same else data.numbers[:0]
    if not same or (rows != rows[0]).any() or formula(rows[0]) != _FORMULAS[molecule]:
        raise FileFormatError(
            f"{source}: its first frame is {data[0].formula}; expected {molecule}, "
            f"{_FORMULAS[molecule]}, in all frames"
        )
    n, n_atoms = len(data), len(data.numbers)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys((*_ENERGIES, "old_indices"), (n,))
    for name, shape in (shapes | dict.fromkeys(_FORCES, (n_atoms, 3))).items():
        values = data.properties.get(name)
        if values is None or values.shape != shape or values.dtype.kind not in "iuf":
            found = "is missing" if values is None else f"has shape {values.shape}, {values.dtype}"
            raise FileFormatError(
                f"{source}: {name!r} {found}; expected real numbers, {shape} for {n} frames"
            )


def _read_rows(path: Path) -> npt.NDArray[np.int64]:
    """Return the numbers of a list that has one on each line."""
    words = path.read_text("utf-8", "replace").split()
    if not words or not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise FileFormatError(f"{path}: expected one number on each line; the file is damaged")
    return np.array(words, dtype=np.int64)


for _name in MD17_MOLECULES:
    register(
        Dataset(
            name=f"md17-{_name}",
            loader=functools.partial(fetch_md17, _name),
            summary=f"revised MD17: {_name}, {_FORMULAS[_name]}, PBE/def2-SVP energies, forces",
            n_structures=99_988 if _name == "azobenzene" else 100_000,
            target="energies",
            files=(ARCHIVE,),
            properties=(
                ("energies", "kcal/mol", "PBE/def2-SVP total energy"),
                ("forces", "kcal/mol/A", "minus its gradient"),
                ("old_indices", "", "number of the frame in the original MD17"),
                ("old_energies", "kcal/mol", "of the original MD17"),
                ("old_forces", "kcal/mol/A", "of the original MD17"),
            ),
            citation="A. S. Christensen, O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, "
            "045018 (2020), https://doi.org/10.1088/2632-2153/abba6f",
            licence="CC0",
        )
    )
