"""Imports run one way between the rooms of the house, and the house stays small."""

import warnings

import pytest

from tests.house import PACKAGE, ROOT, floors, rooms

# room -> the rooms it may import besides itself
ALLOWED = {
    "configs": (),
    "data": (),
    "metrics": ("data",),
    "render": ("data",),
    "methods": ("data", "metrics", "render"),
    "storage": ("data",),
    "training": ("data", "methods", "storage"),
    "pseudo_labels": ("data", "methods", "storage", "training"),
    "pipeline": ("data", "methods", "metrics", "pseudo_labels", "storage", "training"),
    "evaluation": ("data", "methods", "metrics", "pipeline", "pseudo_labels", "storage"),
    "execution": ("data", "pipeline", "storage", "training"),
    "sweeps": ("data", "evaluation", "execution", "methods", "pipeline", "storage", "training"),
    "api.py": ("data", "evaluation", "execution", "pipeline", "storage"),
    "train.py": ("data", "evaluation", "execution", "pipeline", "storage"),
    "reconstruct.py": ("data", "execution", "pipeline", "storage"),
    "evaluate.py": ("data", "evaluation", "execution"),
    "sweep.py": ("evaluation", "execution", "storage", "sweeps", "training"),
    "launch": (),
}


@pytest.fixture(scope="module")
def found():
    return rooms()


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_what_it_may(room, found):
    assert found[room] <= set(ALLOWED[room])


def test_every_room_is_guarded(found):
    assert found.keys() == ALLOWED.keys()


def test_no_room_stands_higher_than_it_must(found):
    assert max(floors(found).values()) <= 9


def test_few_files_stand_at_the_top_level_of_the_package():
    assert len(list((ROOT / PACKAGE).glob("*.py"))) <= 8


def test_rooms_in_a_circle_are_found():
    with pytest.raises(ValueError, match=r"circle among \['a', 'b'\]"):
        floors({"a": {"b"}, "b": {"a"}, "c": set()})


def test_what_the_package_uses_is_not_deprecated():
    """A warning that JAX, NumPy or Python raise at a call of ours is an error under pytest."""
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit("old", DeprecationWarning, "x.py", 1, module="emgauss_jax.training")
