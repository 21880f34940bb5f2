"""Build archive and wheel as for a release, look into both, and test the wheel.

The archive is built from this checkout and the wheel from the archive; the wheel is installed in a
new environment, where its command and tests of the archive run in an empty folder. So nothing can
come from the checkout by accident. By default these are the tests of what packaging can break: the
wheel's files are those of the checkout, where the whole suite runs.
"""

import argparse
import configparser
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Every module imported, versions, packaged data; molecules, model, predictions by the commands.
TESTS = ["test_packaging.py", "datasets/test_qm_small.py", "cli/test_train_predict.py"]
#: The installed command, with compiled functions and a figure.
BENCHMARK = (
    "benchmark --descriptors cm,encoded-bonds-3 --sizes 25 --test-size 10 --repeats 1 --out out"
).split()
DOCUMENTS = ["CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "tox.ini"]


def expected_modules() -> set[str]:
    """Return the files that a wheel must hold, by setup.cfg's list of packages."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    files = set()
    for package, patterns in config["options.package_data"].items():
        folder = Path(*package.split("."))
        for pattern in patterns.split():
            files |= {str(file.relative_to(ROOT)) for file in (ROOT / folder).glob(pattern)}
    for package in config["options"]["packages"].split():
        folder = Path(*package.split("."))
        files |= {str(file.relative_to(ROOT)) for file in (ROOT / folder).glob("*.py")}
    return {Path(file).as_posix() for file in files}


def check_wheel(wheel: Path) -> None:
    """Compare the wheel's files and their content with the checkout's."""
    with zipfile.ZipFile(wheel) as archive:
        content = [(n, archive.read(n)) for n in archive.namelist() if ".dist-info/" not in n]
    names = [name for name, _ in content]
    if len(names) != len(set(names)):
        sys.exit(f"{wheel.name} holds a file twice")
    if set(names) != expected_modules():
        sys.exit(f"{wheel.name} differs from the checkout: {set(names) ^ expected_modules()}")
    changed = [name for name, data in content if data != (ROOT / name).read_bytes()]
    if changed:
        sys.exit(f"{wheel.name}: {changed} are not those of the checkout")


def check_archive(archive: Path) -> None:
    """Look for the sources, once each, and for the documents."""
    top = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.removeprefix(f"{top}/") for name in tar.getnames()}
    missing = {*DOCUMENTS, "descriptors/__init__.py", "tests/conftest.py"} - names
    doubled = {name for name in names if name.startswith("kernchem/descriptors")}
    if missing or doubled:
        sys.exit(f"{archive.name}: missing {missing or 'nothing'}, doubled {doubled or 'nothing'}")


def run_tests(archive: Path, wheel: Path, folder: Path, arguments: list[str]) -> int:
    """Install the wheel in a new environment; run it and the archive's tests in an empty folder."""
    environment, empty = folder / "environment", folder / "empty"
    empty.mkdir()
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    install = [programs / "python", "-m", "pip", "install", "--quiet", f"{wheel}[test]"]
    subprocess.run(install, check=True)
    subprocess.run([programs / "kernchem", *BENCHMARK], cwd=empty, check=True)
    if not (empty / "out" / "learning_curves.png").stat().st_size:
        sys.exit("the benchmark left an empty figure")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    tests = folder / archive.name.removesuffix(".tar.gz") / "tests"
    command = [programs / "python", "-m", "pytest", *(tests / name for name in TESTS)]
    if arguments:
        command[3:] = [tests, *arguments]
    return subprocess.run(command, cwd=empty, check=False).returncode


def main() -> int:
    """Build, look, install and test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "pytest_arguments", nargs="*", help="passed on to pytest, which runs all tests then"
    )
    arguments = parser.parse_args().pytest_arguments
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        subprocess.run(
            [sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT], check=True
        )
        (archive,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
        check_archive(archive)
        check_wheel(wheel)
        return run_tests(archive, wheel, folder, arguments)


if __name__ == "__main__":
    sys.exit(main())
