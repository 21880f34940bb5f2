"""Random edits of model files, with the right digests: refused, or usable."""

import copy
import io
import json
import random

import numpy as np
import pytest
from effort import examples
from forged import refused_or_usable
from hypothesis import given, settings
from hypothesis import strategies as st
from model_writer import model_file, npy

TEXTS = (
    "fixed precomputed gaussian loo nan random sorted eigenspectrum none sp float64 H C-H x"
).split()
TAGS = "float tuple mapping array scalar geometry class settings".split()
ODD = [None, True, False, -1, 0, 1, 2, 7, 0.0, -0.5, 1.5, 1e300, 5e-324]
LARGE = [2**31, 2**63, -(2**63), 10**18, 10**30, 10**400]


def odd_value(rng, depth=0):
    """Any JSON, mostly of a kind that stands somewhere in a file."""
    kind = rng.choice(
        ["odd", "odd", "large", "text", "list", "tagged", "array"][: 4 + 3 * (depth < 3)]
    )
    if kind == "list":
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == "tagged":
        return {rng.choice(TAGS): odd_value(rng, depth + 1) for _ in range(rng.choice([1, 1, 2]))}
    if kind == "array":
        return {"array": [rng.choice(TEXTS), [2], [odd_value(rng, 3), odd_value(rng, 3)]]}
    return rng.choice({"odd": ODD, "large": LARGE, "text": TEXTS}[kind])


def value_like(value, rng):
    """Another value of the same type."""
    if isinstance(value, bool) or value is None:
        return rng.choice([True, False, None, 1, "loo"])
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, -value, 0, 2 * value, value << 40])
    if isinstance(value, float):
        return rng.choice([2 * value, 0.5 * value, -value, 0.0, value + 1, 1e300, 1e-300])
    if isinstance(value, str):
        return rng.choice(TEXTS)
    if isinstance(value, list):
        return rng.choice([value[:-1], value[::-1], value + value, [*value, *value[:1]]])
    return value


def places(node, path=()):
    """Paths to all values of a JSON document."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def at(node, path):
    for key in path:
        node = node[key]
    return node


def edited(manifest, rng):
    """A manifest with one to three values replaced, removed, copied or added."""
    manifest = json.loads(json.dumps(manifest))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found = list(places({"model": manifest["model"]}))
        path = rng.choice(found)
        parent = at(manifest, path[:-1])
        how = rng.choice(["like", "like", "like", "odd", "other", "remove", "add"])
        if how == "remove" and len(path) > 1:
            del parent[path[-1]]
        elif how == "like":
            parent[path[-1]] = value_like(parent[path[-1]], rng)
        elif how == "other":
            parent[path[-1]] = copy.deepcopy(at(manifest, rng.choice(found)))
        elif how == "add" and isinstance(parent, list):
            parent.insert(path[-1], odd_value(rng))
        elif how == "add":
            parent["more"] = odd_value(rng)
        else:
            parent[path[-1]] = odd_value(rng)
    return manifest


@pytest.mark.slow
@settings(max_examples=examples(600), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_edited_manifests(cases, folder, seed):
    rng = random.Random(seed)
    manifest, members, samples = rng.choice(cases)
    refused_or_usable(model_file(edited(manifest, rng), members), samples, folder)


NUMBERS = st.one_of(
    st.integers(-3, 9).map(float),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e300, 5e-324, 2.0**62, -(2.0**62)]),
)


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_edited_arrays(cases, folder, data):
    manifest, members, samples = cases[data.draw(st.integers(0, len(cases) - 1), "model")]
    name = data.draw(st.sampled_from(sorted(members)), "name")
    array = np.load(io.BytesIO(members[name])).copy()
    how = data.draw(st.sampled_from("number shape cut twice type order swap".split()), "how")
    if how == "number":
        place = data.draw(st.integers(0, array.size - 1), "place")
        with np.errstate(invalid="ignore"):
            array.flat[place] = np.asarray(data.draw(NUMBERS, "number")).astype(array.dtype)
    elif how == "shape":
        array = array[None] if data.draw(st.booleans(), "deeper") else array.reshape(-1)
    elif how == "cut":
        array = array[: data.draw(st.integers(0, len(array) - 1), "rows")]
    elif how == "twice":
        array = np.concatenate([array, array], axis=array.ndim - 1)
    elif how == "type":
        with np.errstate(invalid="ignore"):
            array = array.astype(data.draw(st.sampled_from("f4 >f8 i8 i4 u8 c16 S8 U2 ?".split())))
    elif how == "order":
        array = array[::-1]
    else:
        array = np.load(io.BytesIO(members[data.draw(st.sampled_from(sorted(members)))]))
    data_of = {**members, name: npy(array)}
    refused_or_usable(model_file(manifest, data_of), samples, folder)


def test_content_as_it_was(cases, folder):
    for manifest, members, samples in cases:
        assert not refused_or_usable(model_file(manifest, members), samples, folder)


@pytest.mark.slow
def test_every_value_removed_or_replaced(cases, folder):
    """One after the other, each of the settings and numbers, in the smallest models."""
    for manifest, members, samples in (cases[0], cases[7], cases[13]):
        for path in places(manifest):
            for value in (None, -1, 1 << 40, "x", [], {}):
                changed = copy.deepcopy(manifest)
                parent = changed
                for key in path[:-1]:
                    parent = parent[key]
                parent[path[-1]] = value
                refused_or_usable(model_file(changed, members), samples, folder)
