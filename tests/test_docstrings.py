"""Every public name is documented as numpydoc demands, every module has a summary."""

import importlib
import inspect
import os
from pathlib import Path

import pytest
from numpydoc.validate import validate

import kernchem

#: What is not asked for, of numpydoc's checks.
LEFT_OUT = {
    "GL01": "the summary starts on the first line, as ruff's D212 has it",
    "GL03": "blank lines are ruff's business",
    "ES01": "a summary may be all there is to say",
    "EX01": "examples are asked of classes only where they can be short",
    "RT02": "returned values have names where there are several",
    "RT05": "what is said of a returned value may end with a table",
    "SA01": "no `See Also` for its own sake",
    "SS06": "a summary may take two lines",
    "YD01": "generators say what they yield in the summary",
}


def modules():
    """Every module but the private and the compiled ones."""
    package = Path(kernchem.__file__).parent
    for folder, subfolders, files in os.walk(package, followlinks=True):
        subfolders[:] = [name for name in subfolders if name[0] not in "_."]
        for file in files:
            path = Path(folder, file)
            private = file.startswith("_") and file != "__init__.py"
            if path.suffix != ".py" or private or file.endswith("_jit.py"):
                continue
            parts = ["kernchem", *path.relative_to(package).with_suffix("").parts]
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_public(module):
    """Whether users import from it: not from the inside of packages, nor from the solvers."""
    parts = module.split(".")
    is_package = hasattr(importlib.import_module(module), "__path__")
    return len(parts) == 1 or (len(parts) == 2 and (not is_package or parts[1] in kernchem.__all__))


def public_methods(cls):
    """Methods and properties that kernchem wrote and documents first.

    Not those of scikit-learn's mixins, and not where a base class of ours has the documentation.
    """
    ours = [owner for owner in cls.__mro__ if owner.__module__.split(".")[0] == "kernchem"]
    for k, owner in enumerate(ours):
        for name, value in vars(owner).items():
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if isinstance(function, property):
                function = function.fget
            overrides = any(name in vars(base) for base in ours[k + 1 :])
            if not name.startswith("_") and inspect.isfunction(function) and not overrides:
                yield f"{owner.__module__}.{owner.__qualname__}.{name}"


def public_objects():
    found = set()
    for name in filter(is_public, modules()):
        module = importlib.import_module(name)
        for public in module.__all__:
            value = getattr(module, public)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            found.add(f"{value.__module__}.{value.__qualname__}")
            if inspect.isclass(value):
                found.update(public_methods(value))
    return sorted(found)


OBJECTS = public_objects()


def test_collects_classes_functions_and_methods():
    assert {
        "kernchem.structures.Structures",
        "kernchem.structures.as_structures",
        "kernchem.models.krr.KRR.fit",
        "kernchem.units.energy_factor",
    } <= set(OBJECTS)


@pytest.mark.parametrize("name", sorted(modules()))
def test_modules_have_a_summary(name):
    summary = (importlib.import_module(name).__doc__ or "").strip().splitlines()
    assert summary
    assert summary[0].endswith((".", ":"))


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring(name):
    report = validate(name)
    left_out = set(LEFT_OUT)
    if report["docstring"].startswith("Return"):
        left_out.add("RT01")  # a summary that says what is returned needs no section for it
    assert [f"{code}: {text}" for code, text in report["errors"] if code not in left_out] == []
