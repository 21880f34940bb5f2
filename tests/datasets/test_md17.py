"""The revised MD17 from archives, folders and files of the published layout."""

import bz2
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from ase.units import kcal, mol
from numpy.testing import assert_allclose, assert_array_equal
from published import npz, rmd17_archive, rmd17_arrays, rmd17_files, tar_bz2

from kernchem import datasets
from kernchem.datasets import fetch_md17, md17, md17_split
from kernchem.errors import DatasetError, FileFormatError, KernchemError, SettingError

ARCHIVE = rmd17_archive()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "rmd17.tar.bz2"
    path.write_bytes(ARCHIVE)
    return path


@pytest.fixture
def folder(tmp_path):
    for name, content in rmd17_files().items():
        path = tmp_path / "unpacked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "unpacked"


def is_published(data, name="ethanol", factor=1.0):
    arrays = rmd17_arrays(name)
    assert len(data) == 4
    for k, item in enumerate(data):
        assert_array_equal(item.numbers, arrays["nuclear_charges"])
        assert_array_equal(item.positions, arrays["coords"][k])
    assert data.per_atom == {"forces", "old_forces"}
    for label in ("energies", "old_energies"):
        assert_allclose(data[label], arrays[label] * factor, rtol=1e-12)
    for label in ("forces", "old_forces"):
        assert_allclose(data[label], arrays[label].reshape(-1, 3) * factor, rtol=1e-12)
    assert_array_equal(data["old_indices"], arrays["old_indices"])


def test_downloaded_once_and_taken_out_once(server, monkeypatch, home):
    server.files["archive"] = ARCHIVE
    here = replace(md17.ARCHIVE, url=server.url("archive"), md5=None, size=None)
    monkeypatch.setattr(md17, "ARCHIVE", here)
    is_published(fetch_md17("ethanol"))
    server.shutdown()
    is_published(fetch_md17("benzene"), "benzene")
    train, test = md17_split(2)
    assert (train.tolist(), test.tolist()) == ([0, 1], [4, 5])
    monkeypatch.setattr(md17, "tar_members", None)
    is_published(fetch_md17("ethanol"))
    assert md17_split(5)[1].tolist() == [10, 11]
    assert len(server.requests) == 1
    here.path.write_bytes(ARCHIVE + b"more")
    with pytest.raises(DatasetError, match=f"delete {here.path} and fetch again"):
        fetch_md17("ethanol")


def test_archive(archive, home):
    is_published(fetch_md17("ethanol", path=archive))
    is_published(fetch_md17("benzene", path=str(archive)), "benzene")
    assert md17_split(1, path=archive)[0].dtype == np.int64
    assert {path.parent for path in home.rglob("*.*")} == {home / "md17"}


@pytest.mark.parametrize("inside", ["", "rmd17", "rmd17/npz_data"])
def test_folder(folder, inside, home):
    is_published(fetch_md17("ethanol", path=folder / inside))
    assert not home.exists()


@pytest.mark.parametrize("inside", ["", "rmd17", "rmd17/splits"])
def test_splits_of_a_folder(folder, inside):
    for number in range(1, 6):
        train, test = md17_split(number, path=folder / inside)
        assert train.tolist() == [0, 1]
        assert test.tolist() == [2 * number, 2 * number + 1]


def test_single_file(folder):
    path = folder / "rmd17" / "npz_data" / "rmd17_ethanol.npz"
    is_published(fetch_md17("ethanol", path=path))
    with pytest.raises(FileFormatError, match="its first frame is C2H6O; expected benzene, C6H6"):
        fetch_md17("benzene", path=path)


def test_units(archive):
    is_published(fetch_md17("ethanol", path=archive, unit="eV"), factor=kcal / mol)


def test_a_copy_that_was_altered_is_made_anew(archive, home):
    is_published(fetch_md17("ethanol", path=archive))
    (copy,) = (home / "md17").glob("rmd17_ethanol-*.npz")
    content = copy.read_bytes()
    copy.write_bytes(content.replace(b"energies", b"energie_"))
    is_published(fetch_md17("ethanol", path=archive))
    assert copy.read_bytes() == content


def test_another_archive_has_copies_of_its_own(archive):
    is_published(fetch_md17("ethanol", path=archive))
    assert md17_split(1, path=archive)[1].tolist() == [2, 3]
    other = rmd17_arrays(n_frames=3)
    members = [("rmd17_ethanol.npz", npz(other)), ("index_train_01.csv", b"8\n"),
               ("index_test_01.csv", b"9\n")]  # fmt: skip
    archive.write_bytes(tar_bz2(members))
    assert_array_equal(fetch_md17("ethanol", path=archive)["energies"], other["energies"])
    assert [rows.tolist() for rows in md17_split(1, path=archive)] == [[8], [9]]


def test_names_and_numbers(archive):
    for name in ("aspirine", "", None, 3, ["ethanol"]):
        with pytest.raises(SettingError, match="use one of aspirin, azobenzene"):
            fetch_md17(name, path=archive)
    for number in (0, 6, 1.0, True, "1", None):
        with pytest.raises(SettingError, match="there are the splits 1 to 5"):
            md17_split(number, path=archive)
    with pytest.raises(SettingError, match="unit='x'"):
        fetch_md17("ethanol", unit="x", path=archive)
    for path in ("nothing", "nothing.npz"):
        with pytest.raises(FileNotFoundError):
            fetch_md17("ethanol", path=path)


def test_entries(archive):
    names = [name for name in datasets.list_datasets() if name.startswith("md17-")]
    assert names == sorted(f"md17-{name}" for name in md17.MD17_MOLECULES)
    assert len(names) == 10
    is_published(datasets.load("md17-ethanol", path=archive))
    entry = datasets.get_dataset("md17-azobenzene")
    assert (entry.n_structures, entry.target) == (99_988, "energies")
    assert datasets.get_dataset("md17-benzene").n_structures == 100_000
    assert all(f"``{name}``" in fetch_md17.__doc__ for name, *_ in entry.properties)


# -- what is damaged, or made to harm --------------------------------------------------------------


def test_what_is_not_there(archive, folder, tmp_path):
    with pytest.raises(FileFormatError, match=r"no rmd17_uracil\.npz in it"):
        fetch_md17("uracil", path=archive)
    with pytest.raises(FileFormatError, match=r"no rmd17_uracil\.npz in this folder"):
        fetch_md17("uracil", path=folder)
    (folder / "rmd17" / "splits" / "index_test_03.csv").unlink()
    with pytest.raises(FileFormatError, match=r"no index_test_03\.csv"):
        md17_split(3, path=folder)
    archive.write_bytes(tar_bz2([("rmd17/splits/index_train_01.csv", b"1\n")]))
    with pytest.raises(FileFormatError, match=r"no index_test_01\.csv"):
        md17_split(1, path=archive)


@pytest.mark.parametrize("rows", [b"", b"1,2\n", b"one\n", b"-1\n", b"1.5\n", b"9" * 40, b"\xff"])
def test_lists_that_are_none(folder, rows):
    (folder / "rmd17" / "splits" / "index_train_01.csv").write_bytes(rows)
    with pytest.raises(FileFormatError, match=r"index_train_01\.csv: expected one number"):
        md17_split(1, path=folder)


def drop(name):
    return lambda arrays: arrays.pop(name)


def change(name, values):
    return lambda arrays: arrays.update({name: values})


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (drop("nuclear_charges"), "no atomic numbers"),
        (drop("coords"), "no coordinates"),
        (drop("energies"), "'energies' is missing"),
        (drop("old_forces"), "'old_forces' is missing"),
        (change("forces", np.zeros((4, 9, 2))), r"'forces' has shape \(36, 2\)"),
        (change("energies", np.zeros((4, 1))), r"'energies' has shape \(4, 1\)"),
        (change("energies", np.array(["a"] * 4)), "'energies' has shape"),
        (change("old_indices", np.zeros(3)), "'old_indices' is missing"),
        (change("coords", np.full((4, 9, 3), np.nan)), "finite"),
        (change("nuclear_charges", np.array([[6, 6, 8, 1, 1, 1, 1, 1, 1]] * 3
                                            + [[6, 6, 8, 1, 1, 1, 1, 1, 0]])), "in all frames"),
        (change("nuclear_charges", np.array([[6, 6, 8, 1, 1, 1, 1, 1, 1]] * 3
                                            + [[6, 8, 6, 1, 1, 1, 1, 1, 1]])), "in all frames"),
    ],
)  # fmt: skip
def test_damaged_frames(folder, damage, text):
    arrays = rmd17_arrays()
    damage(arrays)
    (folder / "rmd17" / "npz_data" / "rmd17_ethanol.npz").write_bytes(npz(arrays))
    with pytest.raises(KernchemError, match=text) as caught:
        fetch_md17("ethanol", path=folder)
    assert "rmd17_ethanol.npz" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["../../rmd17_ethanol.npz", "/tmp/rmd17_ethanol.npz", "..\\..\\rmd17_ethanol.npz"],
)
def test_names_are_no_paths(tmp_path, home, name):
    path = tmp_path / "rmd17.tar.bz2"
    path.write_bytes(tar_bz2([(name, npz(rmd17_arrays()))]))
    is_published(fetch_md17("ethanol", path=path))
    assert {p.name for p in tmp_path.iterdir()} == {"rmd17.tar.bz2", "home"}
    (copy,) = home.rglob("*.npz")
    assert copy.parent == home / "md17"
    assert copy.name.startswith("rmd17_ethanol-")


def test_links_are_passed_over(tmp_path):
    link = tarfile.TarInfo("rmd17/npz_data/rmd17_ethanol.npz")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path = tmp_path / "rmd17.tar.bz2"
    path.write_bytes(tar_bz2([(link, b"")]))
    with pytest.raises(FileFormatError, match=r"no rmd17_ethanol\.npz in it"):
        fetch_md17("ethanol", path=path)


def test_sizes_that_no_member_has(tmp_path, monkeypatch):
    info = tarfile.TarInfo("rmd17/npz_data/rmd17_ethanol.npz")
    info.size = 2**40
    path = tmp_path / "rmd17.tar.bz2"
    path.write_bytes(bz2.compress(info.tobuf(format=tarfile.GNU_FORMAT) + bytes(1000)))
    with pytest.raises(FileFormatError, match="claims 1099511627776 bytes"):
        fetch_md17("ethanol", path=path)
    monkeypatch.setattr(md17, "_LARGEST_ARCHIVE", 2**12)
    path.write_bytes(ARCHIVE)
    with pytest.raises(FileFormatError, match="unpacks to more than 4096 bytes"):
        fetch_md17("ethanol", path=path)


def test_a_full_disk(archive, monkeypatch, home):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(md17, "write_atomically", full)
    with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device\)"):
        fetch_md17("ethanol", path=archive)
    assert list(home.rglob("*.npz")) == []
