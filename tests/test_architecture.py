"""Imports run one way between the rooms of the house."""

import ast
import pathlib
import warnings

import pytest

import emgauss_jax

ROOT = pathlib.Path(emgauss_jax.__file__).parent
# room -> what of ours it may import besides itself
ALLOWED = {
    "data": (),
    "render": (),
    "metrics": (),
    "methods": ("emgauss_jax.render", "emgauss_jax.metrics.image"),
    "training": ("emgauss_jax.methods.base", "emgauss_jax.data"),
}


def test_imports_run_one_way():
    for room, allowed in ALLOWED.items():
        files = sorted((ROOT / room).rglob("*.py"))
        assert files
        for file in files:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                else:
                    continue
                ours = [name for name in names if name.startswith("emgauss_jax")]
                fine = (f"emgauss_jax.{room}", *allowed)
                bad = [name for name in ours if not name.startswith(fine)]
                assert not bad, f"{file}: {bad}"


def test_what_the_package_uses_is_not_deprecated():
    """A warning that JAX, NumPy or Python raise at a call of ours is an error under pytest."""
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit("old", DeprecationWarning, "x.py", 1, module="emgauss_jax.training")
