"""A workdir or network of somebody else is data: no code of it runs, nothing outside is touched."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from emgauss_jax.data.atomic import whole
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.volume import open_volume
from emgauss_jax.pseudo_labels import store
from emgauss_jax.storage import network_file, pytrees, run_dir
from emgauss_jax.storage.known_configs import known_configs
from tests.benchmarks.fuzz_samples import SAMPLES, VOXEL_NM

Z = np.arange(4, dtype=np.float32)


class Bomb:
    """Creates a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.fixture
def workdir(tmp_path):
    SAMPLES["workdir"].make(tmp_path / "run")
    return tmp_path / "run"


def changed(workdir, path, value):
    """Set a value of config.json; `path` with dots."""
    file = workdir / run_dir.CONFIG
    config = json.loads(file.read_text())
    *sections, name = path.split(".")
    section = config
    for each in sections:
        section = section[each]
    section[name] = value
    file.write_text(json.dumps(config))


def test_an_array_that_would_run_code_is_refused_and_runs_nothing(workdir, tmp_path):
    sign = tmp_path / "ran"
    objects = np.array([Bomb(sign)], object)
    for path, opened in (
        (tmp_path / "x.npy", lambda: open_volume(tmp_path / "x.npy", voxel_nm=VOXEL_NM)),
        (workdir / "prior" / "labels.npy", lambda: store.read_labels(workdir, Z, 4)),
        (workdir / "prior" / "spread.npy", lambda: store.read_labels(workdir, Z, 4)),
    ):
        np.save(path, objects, allow_pickle=True)
        with pytest.raises(InputError, match=path.name):
            opened()
        assert not sign.exists()
    np.load(tmp_path / "x.npy", allow_pickle=True)  # what it would have done
    assert sign.exists()


def test_a_zarr_whose_chunks_are_pickled_is_refused(tmp_path):
    path = tmp_path / "x.zarr"
    SAMPLES["zarr2_bare"].make(path)
    metadata = json.loads((path / ".zarray").read_text())
    metadata |= {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}
    (path / ".zarray").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match=r"x\.zarr"):
        open_volume(path, voxel_nm=VOXEL_NM)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.steps", "x", "config.train.steps: got x, wanted int"),
        ("train.steps", 4.5, "config.train.steps: got 4.5, wanted int"),
        ("train.steps", True, "config.train.steps: got True, wanted int"),
        ("train.steps", 10**400, "config.train.steps: got a number of more than 20 digits"),
        ("train.ema_decay", float("nan"), "config.train.ema_decay: got nan, wanted"),
        ("train.walk", 1, "config.train.walk: got an unknown key, wanted one of"),
        ("train", [], r"config.train: got \[\], wanted a section"),
        ("data", None, "config.data: got None, wanted a section"),
        ("data.path", 7, "config.data.path: got 7, wanted text"),
        ("data.voxel_nm", [1, 2], r"config.data.voxel_nm: got \[1, 2\], wanted a list of 3"),
        ("data.missing", ["x"], "config.data.missing: got .*, wanted a list of numbers"),
        ("optimizer.rates.canonical.means", float("inf"), "means: got inf, wanted a finite"),
        ("emgauss.stages.warmup", None, "config.emgauss.stages.warmup: got None, wanted int"),
        ("method", 5, "config.method: got 5, wanted text"),
    ],
)
def test_a_setting_that_cannot_be_is_named(workdir, key, value, said):
    changed(workdir, key, value)
    with pytest.raises(InputError, match=said):
        run_dir.read_workdir(workdir)


def test_further_volumes_are_texts(tmp_path):
    from emgauss_jax.execution.config_file import load_config

    config = load_config("niiv")
    config.data.paths = ("b.tif",)
    run_dir.claim_workdir(tmp_path, config)
    assert list(run_dir.read_workdir(tmp_path).data.paths) == ["b.tif"]
    changed(tmp_path, "data.paths", [3])
    with pytest.raises(InputError, match=r"data\.paths: got \[3\], wanted a list of texts"):
        run_dir.read_workdir(tmp_path)


def test_a_setting_that_lacks_is_named(workdir):
    config = json.loads((workdir / run_dir.CONFIG).read_text())
    del config["block"]["overlap"]
    (workdir / run_dir.CONFIG).write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.block\.overlap: got no such key"):
        run_dir.read_workdir(workdir)


@pytest.mark.parametrize("name", known_configs())
def test_every_config_of_the_package_is_read_as_it_was_written(name, tmp_path):
    from emgauss_jax.execution.config_file import load_config

    config = load_config(name)
    run_dir.claim_workdir(tmp_path, config)
    assert run_dir.plain(run_dir.read_workdir(tmp_path)) == run_dir.plain(config)


def test_a_method_of_somebody_elses_own_keeps_its_section(workdir):
    config = json.loads((workdir / run_dir.CONFIG).read_text())
    config = {**config, "method": "mine", "mine": {"layers": 3, "name": "x"}}
    for name in ("emgauss", "prior", "lateral"):
        del config[name]
    (workdir / run_dir.CONFIG).write_text(json.dumps(config))
    assert run_dir.read_workdir(workdir).mine.layers == 3
    changed(workdir, "mine.layers", float("nan"))
    with pytest.raises(InputError, match=r"config\.mine\.layers: got nan"):
        run_dir.read_workdir(workdir)


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "{", "\x00", '{"low": 1}', "null"])
@pytest.mark.parametrize(
    ("name", "reading"),
    [
        (run_dir.CONFIG, run_dir.read_workdir),
        (run_dir.GREY_RANGE, run_dir.read_grey_range),
        (run_dir.DAMAGED, run_dir.read_damaged),
        (run_dir.ABSENT, run_dir.read_absent),
        ("prior/weights.json", store.read_weights),
    ],
)
def test_a_damaged_record_is_told_in_a_line_that_names_it(workdir, name, reading, content):
    (workdir / name).write_text(content)
    with pytest.raises(InputError, match=name) as caught:
        reading(workdir)
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_with_a_config_that_cannot_be_is_refused(tmp_path):
    path = tmp_path / network_file.FILE
    about = {"learned": {"factor": "x"}, "config": {"method": "niiv", "train": 3}}
    pytrees.write(path, network_file.KIND, {"params": np.zeros(3)}, about)
    with pytest.raises(InputError, match="config"):
        network_file.read_config(tmp_path)
    with pytest.raises(InputError, match="wanted an object of"):
        network_file.read_learned(tmp_path)


def test_a_link_that_leads_out_of_a_workdir_is_refused(workdir, tmp_path):
    (workdir / "inner").symlink_to(workdir / "prior")
    run_dir.read_workdir(workdir)
    (workdir / "prior" / "metrics.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match=r"metrics\.jsonl: got a link to .*victim"):
        run_dir.read_workdir(workdir)


def test_a_row_of_a_sweep_may_link_into_the_sweep(workdir, tmp_path):
    row, shared = tmp_path / "sweep" / run_dir.ROWS / "one", tmp_path / "sweep" / "units"
    shared.mkdir(parents=True)
    shutil.copytree(workdir, row)
    (row / "shared").symlink_to(shared)
    run_dir.read_workdir(row)
    (row / "astray").symlink_to(tmp_path)
    with pytest.raises(InputError, match="astray: got a link"):
        run_dir.read_workdir(row)


def test_a_link_in_place_of_a_file_that_is_written_is_replaced(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "run" / "config.json"
    victim.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(victim)
    path.with_name(".config.json.partial").symlink_to(victim)
    with whole(path) as partial:
        partial.write_text("new")
    assert victim.read_text() == "mine" and path.read_text() == "new"
    assert not path.is_symlink()
