"""What is installed, and the command `emgauss`; that it runs as on Windows: test_commands.py."""

import os
import subprocess
import sys
import tomllib

import pytest

import emgauss_jax
from emgauss_jax.data.errors import InputError
from emgauss_jax.execution import command
from emgauss_jax.execution.config_file import find_config
from tests.tiny_runs import ROOT, emgauss


def test_the_wheel_has_every_folder_of_the_package_and_of_configs():
    """A package that is not listed in pyproject.toml is missing where it is installed alone."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    here = {path.parent for path in (ROOT / "emgauss_jax").rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in here}
    configs = {path.parent for path in (ROOT / "configs").rglob("*.py")}
    packages |= {".".join(("emgauss_jax", *path.relative_to(ROOT).parts)) for path in configs}
    assert set(listed["packages"]) == packages


def test_the_citation_has_the_version_of_the_package():
    assert f"version: {emgauss_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_a_config_is_found_by_its_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("demo").samefile(ROOT / "configs" / "demo.py")
    assert find_config("demo.py").samefile(ROOT / "configs" / "demo.py")
    assert find_config("methods", "sweeps").samefile(ROOT / "configs" / "sweeps" / "methods.py")
    (tmp_path / "demo.py").write_text("mine")
    assert find_config("demo.py").samefile(tmp_path / "demo.py")
    for name, folder, known in (("methods", "", "niiv_tiny"), ("demo", "sweeps", "rates")):
        with pytest.raises(InputError, match=rf"config: got {name}, .* {known}"):
            find_config(name, folder)


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        ([], 0, "emgauss sweep"),
        (["--help"], 0, "configs: demo, "),
        (["--version"], 0, emgauss_jax.__version__),
        (["fit"], 2, "error: command: got fit, wanted one of train, "),
    ],
)
def test_emgauss_says_what_there_is(args, code, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["emgauss", *args])
    ended = 0
    try:
        command.dispatch()
    except SystemExit as exit:
        ended = exit.code
    texts = capsys.readouterr()
    assert ended == code and told in (texts.err if code else texts.out)


def test_the_flags_of_a_command_are_its_own(tmp_path):
    args = emgauss("train", "--help")
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(args, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert all(f"--{flag}:" in done.stdout for flag in ("config", "workdir", "cluster"))
    assert "--uncertainty" not in done.stdout  # of `reconstruct`
