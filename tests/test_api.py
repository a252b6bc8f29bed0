"""The library: arrays in and out, the voxels of the commands, and nothing on disk."""

import importlib
import inspect
import os

import h5py
import numpy as np
import pytest

import emgauss_jax as eg
from emgauss_jax.data.volume import open_volume
from emgauss_jax.execution.config_file import changed, load_config
from emgauss_jax.storage.run_dir import claim_workdir, plain
from emgauss_jax.sweeps.plan import read_config
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import make_stack, tiny, tiny_niiv, write

VOXEL = (40.0, 10.0, 10.0)


def stack_of(path):
    return open_volume(make_stack(path))[:, :, :]


def configs(path):
    """Small configs of three kinds: blocks with labels in two regions, a network, neither."""
    asked = {"data__path": path, "data__simulate_factor": 0}
    cut = {"block__max_size": (26, 24, 18), "block__overlap": (2, 8, 8), "block__region": (1, 1, 1)}
    return {
        "emgauss": tiny(train__steps=4, prior__flow=True, **cut, **asked),
        "niiv": tiny_niiv(path),
        "linear": tiny("linear", **asked),
    }


@pytest.mark.parametrize(
    "name", ["emgauss", pytest.param("niiv", marks=pytest.mark.slow), "linear"]
)
def test_arrays_come_out_as_the_command_writes_them(name, tmp_path, monkeypatch):
    path = make_stack(tmp_path / "a.ome.tif")
    config, stack = configs(path)[name], open_volume(path)[:, :, :]
    written = open_volume(train_and_evaluate(config, tmp_path / "run"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "empty"))
    fit = eg.fit(stack, voxel_nm=VOXEL, config=config)
    assert not os.listdir(tmp_path / "empty")
    np.testing.assert_array_equal(fit.volume(), written[:, :, :])
    assert fit.voxel_nm == written.voxel_nm == (10.0, 10.0, 10.0)
    kept = eg.load(tmp_path / "run")
    fit.save("fit.safetensors")
    for other in (kept, eg.load("fit.safetensors")):
        np.testing.assert_array_equal(other.volume(), written[:, :, :])
        np.testing.assert_array_equal(other.uncertainty([0.5]), fit.uncertainty([0.5]))
        assert other.weights() == fit.weights()
        np.testing.assert_array_equal(other.volume(factor=2)[::2], fit.planes(range(len(stack))))
    with pytest.raises(eg.InputError, match="exists already"):
        fit.save("fit.safetensors")
    report = eg.load("fit.safetensors").report("report")
    assert "observed slices" in report.read_text()
    with pytest.raises(eg.InputError, match="exists already"):
        fit.report("report")
    kept.save("kept.safetensors")
    np.testing.assert_array_equal(eg.load("kept.safetensors").planes([1.5]), fit.planes([1.5]))


@pytest.mark.parametrize("degradation", ["subsample", "average"])
def test_a_saved_fit_of_an_isotropic_volume_holds_no_held_out_plane(degradation, tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (13, 24, 26), dtype=np.uint16)
    config = tiny("linear", data__degradation=degradation, data__missing=(1,))
    fit = eg.fit(values, voxel_nm=(10, 10, 10), config=config)
    fit.save(tmp_path / "fit.safetensors")
    again = eg.load(tmp_path / "fit.safetensors")
    np.testing.assert_array_equal(again.volume(), fit.volume())
    np.testing.assert_array_equal(again.uncertainty(), fit.uncertainty())
    slices = again.run.observed.slices
    assert slices.size < values.size / 3
    assert (
        "There is no score: the reference was not kept with the fit"
        in again.report(tmp_path / "report").read_text()
    )
    assert not (tmp_path / "report" / "metrics.json").exists()


def test_any_array_that_can_be_sliced(tmp_path):
    stack = stack_of(tmp_path / "a.ome.tif")
    want = eg.reconstruct(stack, voxel_nm=VOXEL, config="linear")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = stack
        for lazy in (file["raw"], np.asfortranarray(stack), tmp_path / "a.ome.tif"):
            size = None if isinstance(lazy, os.PathLike) else VOXEL
            got = eg.reconstruct(lazy, voxel_nm=size, config="linear")
            np.testing.assert_array_equal(got, want)
    big = stack.astype(">u2")
    assert eg.reconstruct(big, voxel_nm=VOXEL, config="linear").dtype == np.uint16


def test_a_fit_keeps_its_own_copy(tmp_path):
    stack = stack_of(tmp_path / "a.ome.tif")
    fit = eg.fit(stack, voxel_nm=VOXEL, config="linear", keep_observed=True, data__crop="1:5,:,:")
    before = fit.volume()
    stack[:] = 0
    fit.save(tmp_path / "fit.safetensors")
    for one in (fit, eg.load(tmp_path / "fit.safetensors")):
        np.testing.assert_array_equal(one.volume(), before)


def test_what_follows_from_a_setting_follows(tmp_path):
    """The stages of the default follow its steps, as they do where a command is given them."""
    changes = {"train.steps": 20, "data.missing": (3,)}
    named = {key.replace(".", "__"): value for key, value in changes.items()}
    ours = changed(load_config("emgauss"), named | {"data__missing": np.array([3])})
    flags = read_config("emgauss", {key: str(value) for key, value in changes.items()})
    assert plain(ours) == plain(flags)
    assert ours.emgauss.stages.joint == 20 // 4


def test_progress_is_told_and_may_stop_the_fit(tmp_path):
    stack, told = stack_of(tmp_path / "a.ome.tif"), []
    config = tiny("linear", data__simulate_factor=0, train__steps=4, train__steps_per_dispatch=2)
    eg.fit(stack, voxel_nm=VOXEL, config=config, progress=told.append)
    assert [each.done for each in told] == [0, 2, 4] and {each.total for each in told} == {4}
    with pytest.raises(eg.Stopped, match="fit: stopped after 2 of 4 steps"):
        eg.fit(stack, voxel_nm=VOXEL, config=config, progress=lambda each: each.done == 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"stack": "nowhere.tif"}, "no such file"),
        ({"stack": [[1]]}, "got a list, wanted an array"),
        ({"stack": np.zeros((4, 12), np.uint8)}, r"got shape \(4, 12\)"),
        ({"stack": np.zeros((4, 12, 12), complex)}, "dtype: got complex128"),
        ({"voxel_nm": None}, "voxel_nm: got None, wanted three"),
        ({"voxel_nm": (10, 40, 40)}, "wanted z >= y"),
        ({"config": "magic"}, "wanted a file or one of"),
        ({"train__stepz": 3}, "train__stepz: got 3"),
        ({"train__steps": "many"}, "train__steps: got 'many', wanted another type"),
        ({"train__steps": None}, "train__steps: got None, wanted a value"),
        ({"train": {"steps": 3}}, "of a section, name each key"),
        ({"data__path": "a.tif"}, "data__path: got it beside a stack"),
        ({"data__series": 1}, "data__series: got 1 for an array"),
        ({"config": {}}, "config: got {}, wanted a name"),
    ],
)
def test_bad_input_is_refused_before_anything_is_fitted(change, match):
    given = {"stack": np.zeros((4, 12, 12), np.uint8), "voxel_nm": VOXEL} | change
    with pytest.raises(eg.InputError, match=match):
        eg.reconstruct(given.pop("stack"), **given)


def test_depths_are_asked_in_one_way():
    fit = eg.fit(np.zeros((4, 12, 12), np.uint8), voxel_nm=VOXEL, config="linear")
    for ask, match in (
        (lambda: fit.volume(z_voxel_nm=5, factor=3), r"\['z_voxel_nm', 'factor'\], wanted at most"),
        (lambda: fit.volume(factor="three"), "factor: got 'three', wanted a number"),
        (lambda: fit.planes([2, 4]), "wanted rising depths from 0 to 3"),
        (lambda: fit.planes(1.5), r"z: got 1.5, wanted numbers like 1.5,2.25"),
        (lambda: fit.planes([[0, 1]]), "wanted numbers like"),
        (lambda: fit.params(1), "region: got 1, wanted 0 to 0"),
    ):
        with pytest.raises(eg.InputError, match=match):
            ask()
    assert repr(fit) == "Fit(linear, 4 x 12 x 12 slices and px)"


def test_scores_follow_their_definition(tmp_path):
    truth = np.random.default_rng(1).random((9, 24, 24), np.float32)
    made = eg.reconstruct(truth[::4], voxel_nm=VOXEL, config="linear")
    scores = eg.evaluate(made, truth, observed_every=4)["scores"]
    np.testing.assert_allclose(scores["prediction"]["psnr"], scores["linear"]["psnr"], atol=1e-4)
    error = made - truth
    hidden, span = np.arange(9) % 4 > 0, np.ptp(np.quantile(truth[::4], [1e-3, 1 - 1e-3]))
    want = -10 * np.log10(np.mean(np.square(error[hidden])) / span**2)
    assert scores["prediction"]["psnr"] == pytest.approx(want, abs=1e-3)
    spread = np.abs(error) + np.float32(0.01)
    whole = eg.evaluate(
        made,
        truth,
        observed_every=4,
        report=tmp_path / "r",
        uncertainty=spread,
        voxel_nm=(10, 10, 10),
    )
    assert (tmp_path / "r" / "report.html").exists()
    lengths = {name for name in whole["scores"]["linear"] if name not in scores["linear"]}
    assert lengths and all("_nm" in name for name in lengths)
    assert {n: whole["scores"]["linear"][n] for n in scores["linear"]} == scores["linear"]
    with pytest.raises(eg.InputError, match="a report has lengths"):
        eg.evaluate(made, truth, observed_every=4, report=tmp_path / "s")
    assert whole["expected_error"]["correlation"] > 0.9  # it was told the error itself
    with pytest.raises(eg.InputError, match="those of the reference"):
        eg.evaluate(made[:, :-1], truth, observed_every=4)


def test_a_workdir_that_is_not_finished_or_of_an_older_version_is_refused(tmp_path):
    config = tiny("linear", data__path=make_stack(tmp_path / "a.ome.tif"), data__simulate_factor=0)
    claim_workdir(tmp_path / "begun", config)
    with pytest.raises(eg.InputError, match="got a fit of 0 regions of 1"):
        eg.load(tmp_path / "begun")
    for name in ("network.npz", "fitted.npz", "regions/000000/fitted.npz"):
        claim_workdir(tmp_path / name[:3], config)
        (tmp_path / name[:3] / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name[:3] / name).touch()
        with pytest.raises(eg.InputError, match=r"of version 0\.1.*fit again in a new workdir"):
            eg.load(tmp_path / name[:3])
        with pytest.raises(eg.InputError, match=r"of version 0\.1"):
            claim_workdir(tmp_path / name[:3], config)


def test_public_names_stay_when_the_commands_are_loaded():
    """`emgauss_jax.reconstruct` and `emgauss_jax.evaluate` are modules, too."""
    for name in ("reconstruct", "evaluate"):
        assert importlib.import_module(f"emgauss_jax.{name}").main
    assert not any(inspect.ismodule(getattr(eg, name)) for name in eg.__all__)


UNEVEN = np.array([0, 30, 80, 100, 160, 200.0])  # nm; their mean distance is 40


def ramp(nm, shape=(12, 14)):
    """Grey levels that rise with depth, and in y and x too."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (3.0 * nm[:, None, None] + 2 * y - x).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"data__z_nm": UNEVEN}, 0),
        ({"data__z_nm": (UNEVEN + 77).tolist(), "data__missing": (1, 3)}, 0),  # two gaps of two
        ({"data__z_nm": UNEVEN, "data__crop": "2:6,:,:"}, 80),
    ],
)
def test_unevenly_spaced_slices_come_out_at_even_depths(changes, first, tmp_path):
    """A ramp in nm stays one, from the first slice to the last, and not mirrored; saved, too."""
    fit = eg.fit(ramp(UNEVEN), voxel_nm=(50, 10, 10), config="linear", **changes)
    want = ramp(np.arange(first, 201, 10.0))
    assert fit.voxel_nm == (10, 10, 10)
    np.testing.assert_allclose(fit.volume(), want, atol=1e-3)
    np.testing.assert_allclose(fit.volume(z_voxel_nm=20), want[::2], atol=1e-3)
    fit.save(tmp_path / "fit.safetensors")
    np.testing.assert_array_equal(eg.load(tmp_path / "fit.safetensors").volume(), fit.volume())
    assert "expected error" in fit.report(tmp_path / "report").read_text().lower()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["emgauss", "niiv"])
def test_a_method_learns_as_from_even_slices_and_is_asked_for_even_planes(name, tmp_path):
    path = make_stack(tmp_path / "a.ome.tif")
    plain = {"data__path": path, "data__simulate_factor": 0}
    config = tiny(**plain) if name == "emgauss" else tiny_niiv(path)
    even = eg.fit(path, config=config)
    uneven = eg.fit(path, config=config, data__z_nm=UNEVEN)
    asked = np.interp(np.arange(21) * 10.0, UNEVEN, np.arange(6))
    np.testing.assert_array_equal(uneven.volume(), even.planes(asked))


def test_a_command_reads_a_file_of_depths_once(tmp_path):
    """A workdir keeps the numbers."""
    path, file = make_stack(tmp_path / "a.ome.tif"), tmp_path / "depths.txt"
    file.write_text("# nm\n" + "\n".join(map(str, UNEVEN)))
    config = configs(path)["linear"]
    want = eg.fit(path, config=config, data__z_nm=UNEVEN).volume()
    config.data.z_nm = str(file)
    written = open_volume(train_and_evaluate(config, tmp_path / "run"))
    np.testing.assert_array_equal(written[:, :, :], want)
    file.unlink()
    np.testing.assert_array_equal(eg.load(tmp_path / "run").volume(), want)


@pytest.mark.parametrize(("crop", "first"), [("", 0), ("1:5,3:12,:", 3)])
def test_px_that_are_not_square_come_out_so(crop, first, tmp_path):
    """A ramp stays one; arrays and files alike, and slices that are kept are the resampled ones."""
    given = {"config": "linear", "data__crop": crop}
    stack = ramp(np.arange(6) * 40.0, (24, 28))  # 2 grey levels a row of 20 nm
    fit = eg.fit(stack, voxel_nm=(40, 20, 10), **given)
    rows = 9 if crop else 24
    z = np.arange(40 if crop else 0, 161 if crop else 201, 10.0)
    y, x = np.mgrid[: 2 * rows - 1, :28]
    want = 3.0 * z[:, None, None] + 2 * first + y - x
    assert fit.voxel_nm == (10, 10, 10)
    volume = fit.volume()
    np.testing.assert_allclose(volume[:, 2:-2], want[:, 2:-2], atol=1e-3)
    np.testing.assert_allclose(volume[:, ::2], want[:, ::2], atol=1e-3)
    path = write(tmp_path / "a.ome.tif", stack, (40.0, 20.0, 10.0))
    np.testing.assert_array_equal(eg.reconstruct(path, **given), volume)
    kept = eg.fit(path, keep_observed=True, **given)
    np.testing.assert_array_equal(kept.volume()[::4], kept.run.observed.slices)
    kept.save(tmp_path / "fit.safetensors")
    np.testing.assert_array_equal(eg.load(tmp_path / "fit.safetensors").volume(), kept.volume())
    thick = eg.fit(stack, voxel_nm=(10, 20, 10), data__simulate_factor=2, config="linear")
    assert thick.volume().shape == (5, 47, 28)
    assert thick.report(tmp_path / "report").with_name("metrics.json").is_file()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"data__z_nm": [0, 40]}, "got 2 depths, wanted 4"),
        ({"data__z_nm": 40}, "z_nm: got 40, wanted depths in nm"),
        ({"data__z_nm": [0, 1, 2, 3]}, "wanted z >= y"),
        ({"voxel_nm": (8, 40, 8)}, "transpose the volume"),
    ],
)
def test_distances_that_cannot_be(changes, match):
    given = {"voxel_nm": VOXEL, "config": "linear"} | changes
    with pytest.raises(eg.InputError, match=match):
        eg.reconstruct(np.zeros((4, 12, 12), np.uint8), **given)
