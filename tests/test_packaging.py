"""What is shipped: packages, names, versions, commands, and who may import what."""

import ast
import configparser
import fnmatch
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kernchem

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(kernchem.__file__).parent
#: An unpacked release archive holds no link (see MANIFEST.in) and no git files.
IS_CHECKOUT = not (ROOT / "PKG-INFO").exists()
only_checkout = pytest.mark.skipif(not IS_CHECKOUT, reason="a release archive, not a checkout")


def read_config(name):
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / name, encoding="utf-8")
    return config


def source_folders():
    """Folders of the package that hold Python files, the linked one included."""
    for folder, subfolders, files in os.walk(PACKAGE, followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        if any(name.endswith(".py") for name in files):
            yield Path(folder)


def module_name(path):
    parts = ["kernchem", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(path for folder in source_folders() for path in folder.glob("*.py"))
MODULES = [module_name(path) for path in SOURCES if path.name != "__main__.py"]


def test_packages_are_the_folders_on_disk():
    listed = read_config("setup.cfg")["options"]["packages"].split()
    on_disk = [".".join(["kernchem", *f.relative_to(PACKAGE).parts]) for f in source_folders()]
    assert sorted(listed) == sorted(on_disk)
    assert len(set(listed)) == len(listed)


def test_every_package_has_an_init():
    assert [str(f) for f in source_folders() if not (f / "__init__.py").is_file()] == []


@only_checkout
def test_link_resolves():
    link = ROOT / "kernchem" / "descriptors"
    assert link.is_symlink()
    assert link.readlink() == Path("..", "descriptors")
    assert link.resolve() == ROOT / "descriptors"


def test_descriptors_are_loaded_under_one_name():
    importlib.import_module("kernchem.descriptors")
    assert [m for m in sys.modules if m == "descriptors" or m.startswith("descriptors.")] == []


def run_python(code, cwd=None):
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
    ).stdout


def test_import_loads_no_heavy_package(tmp_path):
    code = "import kernchem, sys; dir(kernchem); print(*sorted(sys.modules))"
    loaded = run_python(code, tmp_path).split()
    heavy = {"numpy", "scipy", "sklearn", "numba", "ase", "matplotlib", "rich", "click", "pandas"}
    assert heavy.intersection(loaded) == set()
    assert [m for m in loaded if m.startswith("kernchem.")] == []


def test_structures_load_no_calculators_or_pictures(tmp_path):
    code = "from kernchem import Structures; import sys; print(*sorted(sys.modules))"
    loaded = run_python(code, tmp_path).split()
    assert "kernchem.structures" in loaded
    assert {"matplotlib", "ase", "rich", "click", "sklearn"}.intersection(loaded) == set()


def test_import_takes_milliseconds(tmp_path):
    code = "import time; t = time.process_time(); import kernchem; print(time.process_time() - t)"
    assert min(float(run_python(code, tmp_path)) for _ in range(3)) < 0.5


@pytest.mark.parametrize("name", MODULES)
def test_names_resolve(name):
    module = importlib.import_module(name)
    listed = module.__all__ if "__all__" in vars(module) else []
    assert len(set(listed)) == len(listed)
    for public in listed:
        assert getattr(module, public, None) is not None, f"{name}.{public}"
    if not name.rpartition(".")[2].startswith("_"):
        assert listed, f"{name} is public and has no __all__"


def test_lazy_names_are_listed():
    assert set(kernchem.__all__) <= set(dir(kernchem))
    assert set(kernchem._HOMES) <= set(kernchem.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Kernel'"):
        kernchem.Kernel  # noqa: B018


def test_names_for_type_checkers_are_the_lazy_ones():
    tree = ast.parse(Path(kernchem.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    homes = {alias.name: node.module for node in block.body for alias in node.names}
    assert homes == {name: kernchem._HOMES.get(name, "kernchem") for name in kernchem.__all__}


def imported_modules(path):
    """Modules of kernchem that a file imports anywhere, resolved to files where they are files."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


COMPILED = [p for p in SOURCES if fnmatch.fnmatch(p.name, "*_jit.py") or p.name == "_fastmath.py"]


@pytest.mark.parametrize("path", COMPILED, ids=module_name)
def test_compiled_modules_know_no_objects(path):
    allowed = {"kernchem._numba", *map(module_name, COMPILED)}
    ours = {name for name in imported_modules(path) if name.split(".")[0] == "kernchem"}
    assert ours <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nobody_imports_descriptors_by_its_folder(path):
    assert "descriptors" not in {name.split(".")[0] for name in imported_modules(path)}


def test_compiled_modules_exist():
    assert {"_fastmath.py", "neighbors_jit.py"} <= {path.name for path in COMPILED}


def test_versions_agree():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)[1] == kernchem.__version__
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == kernchem.__version__
    assert read_config("setup.cfg")["metadata"]["version"] == "attr: kernchem.__version__"


def test_imported_packages_are_required():
    names = {"scikit-learn": "sklearn"}
    floors = read_config("setup.cfg")["options"]["install_requires"].split()
    required = [re.match(r"[\w-]+", floor)[0] for floor in floors]
    # llvmlite is Numba's own back end: it comes with Numba, in the version that fits.
    ours = {names.get(name, name) for name in required} | {"kernchem", "llvmlite"}
    ours |= {"mopactools", "tblite"}  # programs of baselines, see the next test
    used = {name.split(".")[0] for path in SOURCES for name in imported_modules(path)}
    assert used - set(sys.stdlib_module_names) <= ours


def test_programs_are_extras_and_tested():
    extras = read_config("setup.cfg")["options.extras_require"]
    assert extras["xtb"].split() == ["tblite>=0.6.0"]
    assert extras["mopac"].split() == ["mopactools>=0.1.0"]
    for extra in ("xtb", "mopac"):
        assert f"{extras[extra].strip()}; sys_platform" in extras["test"]


def test_floors_are_tested():
    floors = read_config("setup.cfg")["options"]["install_requires"].split()
    pinned = read_config("tox.ini")["testenv:mindeps"]["deps"].split()
    assert [floor.replace(">=", "==") for floor in floors] == pinned


def test_pyproject_holds_the_build_system_only():
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert set(tomllib.load(file)) == {"build-system"}


def marked_block(mark):
    """The command in the README's code block behind ``<!-- mark -->``."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"<!-- {mark} -->\n+```bash\n(.+?)\n```", readme, re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def test_readme_commands():
    assert marked_block("benchmark") == "python -m pip install . && kernchem benchmark"
    assert marked_block("tests") == 'python -m pip install ".[test]" && python -m pytest'
    scripts = read_config("setup.cfg")["options.entry_points"]["console_scripts"].split()
    assert scripts == ["kernchem", "=", "kernchem.cli:main"]
    assert callable(importlib.import_module("kernchem.cli").main)


def test_module_is_the_command():
    main = importlib.import_module("kernchem.__main__").main
    assert main is importlib.import_module("kernchem.cli").main
    shown = subprocess.run(
        [sys.executable, "-m", "kernchem", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
    ).stdout
    assert "benchmark" in shown


def test_ci_runs_the_readme_and_environments_that_exist():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- tests -->" in script
    environments = re.findall(r"-e ([a-z,]+)", script)
    known = {name.removeprefix("testenv:") for name in read_config("tox.ini").sections()}
    used = {name for group in environments for name in group.split(",")}
    assert {"lint", "types", "layers", "build", "nojit"} <= used <= known


@only_checkout
@pytest.mark.skipif(os.name == "nt", reason="no executable bit")
def test_ci_is_executable():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@only_checkout
def test_linter_is_one_version():
    tox = read_config("tox.ini")["testenv:lint"]["deps"]
    hook = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert tox == "ruff==" + re.search(r"rev: v(.+)", hook)[1]
