"""The commands, killed and resumed, with damaged slices and with bad input."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest
import tifffile

from emgauss_jax.data.atomic import partial_of
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import open_volume
from emgauss_jax.storage.run_dir import CONFIG, claim_workdir, read_workdir
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import ROOT, command, emgauss, tiny, write

RUN = (
    "--config=emgauss", "--config.data.path=phantom",
    "--config.data.phantom_shape=(17,32,28)", "--config.data.simulate_factor=4",
    "--config.train.steps=240", "--config.train.steps_per_dispatch=10",
    "--config.train.checkpoint_every=40", "--config.block.max_size=(64,28,40)",
    "--config.train.blocks_per_chunk=1", "--config.prior.steps=0",
)  # fmt: skip


def run_as_on_windows(folder, *args):
    """Run `emgauss` in a folder of its own, on a system like that of tests/bare_system."""
    paths = {"PYTHONPATH": f"{ROOT / 'tests' / 'bare_system'}{os.pathsep}{ROOT}"}
    subprocess.run(emgauss(*args), check=True, cwd=folder, env=os.environ | paths)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    """The uninterrupted one does without all that Windows lacks."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_as_on_windows(tmp_path, "train", *RUN, "--workdir=whole")
    assert (whole / "report" / "report.html").exists() and not (whole / ".lock").exists()
    assert {path.name for path in (whole / "prior").iterdir()} == {"spread.npy", "weights.json"}
    for enough in (5, 34):  # in the first chunk, then in the second
        process = subprocess.Popen(command("train", *RUN, f"--workdir={broken}"), cwd=ROOT)
        log = broken / "metrics.jsonl"
        while not log.exists() or log.read_text().count("\n") < enough:
            assert process.poll() is None, "it was not to end before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (broken / "reconstruction.ome.tif").exists()
    subprocess.run(command("train", *RUN, f"--workdir={broken}"), check=True, cwd=ROOT)
    assert (whole / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()
    # the files themselves hold a UUID each
    volumes = [open_volume(each / "reconstruction.ome.tif")[:, :, :] for each in (whole, broken)]
    np.testing.assert_array_equal(*volumes)
    more = tmp_path / "more.ome.tif"
    error = tmp_path / "error.ome.tif"
    args = (f"--workdir={broken}", f"--output={more}", "--factor=2.5", f"--uncertainty={error}")
    subprocess.run(command("reconstruct", *args), check=True, cwd=ROOT)
    np.testing.assert_allclose(open_volume(more).voxel_nm, (16, 10, 10))
    assert open_volume(more).shape[0] == 11
    assert open_volume(error).shape == open_volume(more).shape
    assert open_volume(error)[:, :, :].max() > 1  # grey levels


def test_damaged_slices_are_listed_and_left_out(tmp_path):
    """They are told on stderr and in the report; the reconstruction does without them."""
    values = tissue((8, 24, 28), 0)
    values[3], values[5] = 99, values[4]
    path = write(tmp_path / "a.ome.tif", values, (20.0, 10.0, 10.0))
    done = subprocess.run(
        command("train", f"--config={ROOT / 'configs' / 'siren.py'}", f"--config.data.path={path}",
                "--config.train.steps=2", "--config.siren.width=4", "--config.siren.layers=1",
                "--detect_missing", f"--workdir={tmp_path / 'run'}"),
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "slice 3: blank" in done.stderr and "slice 5: repeats" in done.stderr
    assert tuple(read_workdir(tmp_path / "run").data.missing) == (3, 5)
    report = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "<td>missing slices</td><td>3, 5</td>" in report
    assert "<td>of these, found damaged</td><td>3 blank: contrast 0" in report


BAD = {
    "no such file": {"data__path": "nowhere.tif"},
    "wanted a volume": {"data__path": ""},
    "wanted one of": {"method": "magic"},
    "wanted 0 \\(off\\) or a whole number >= 2": {"data__simulate_factor": 1},
    "wanted 2 or more": {"data__simulate_factor": 100},
    "2 or more valid slices": {"data__missing": (0, 1, 2, 3)},
    "crop: got": {"data__crop": "0:99,:,:"},
    "degradation: got": {"data__degradation": "blur"},
    "backend binned draws": {"emgauss__render__blend": "alpha"},
    "emgauss.deformation: got 'flow'": {"emgauss__deformation": "flow"},
    "ema_decay: got": {"train__ema_decay": 1.0},
    "overlap: got": {"block__overlap": (4, 200, 16)},
    "wanted 1 or more of each": {"train__steps": 0},
    "neighbours must share a slice": {
        "data__phantom_shape": (70, 24, 24),
        "data__simulate_factor": 0,
        "block__max_size": (6, 24, 24),
        "block__overlap": (0, 8, 8),
    },
    "wanted three whole numbers": {"block__max_size": (64, 24)},
    "phantom_shape: got": {"data__phantom_shape": (17, 40)},
    "planes_per_step 0": {"emgauss__planes_per_step": 0},
    "blocks_per_chunk -1": {"train__blocks_per_chunk": -1},
    "11 px or more a side": {"data__crop": ":,0:8,0:8"},
}


@pytest.mark.parametrize("match", BAD)
def test_bad_settings_say_what_was_wanted(match, tmp_path):
    with pytest.raises(ValueError, match=match):
        train_and_evaluate(tiny(**BAD[match]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_volumes_say_what_was_wanted(tmp_path):
    nan = np.ones((9, 24, 24), np.float32)
    nan[4], nan[8, 3, 5] = np.nan, np.inf
    flat = np.zeros((9, 24, 24), np.uint8)
    isotropic_only = write(tmp_path / "iso.ome.tif", flat, (4.0, 10.0, 10.0))
    tifffile.imwrite(tmp_path / "plain.tif", flat)
    (tmp_path / "text.tif").write_text("no image")
    cases = {
        "slices 1, 2: got 577 NaN": {"data__path": str(write(tmp_path / "nan.ome.tif", nan))},
        "data.voxel_nm": {"data__path": str(tmp_path / "plain.tif")},
        "text.tif": {"data__path": str(tmp_path / "text.tif")},
        "wanted z >= y": {"data__path": str(isotropic_only), "data__simulate_factor": 0},
    }
    for match, changes in cases.items():
        with pytest.raises(ValueError, match=match):
            train_and_evaluate(tiny(**changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_workdir_belongs_to_one_config(tmp_path):
    claim_workdir(tmp_path / "run", tiny())
    claim_workdir(tmp_path / "run", tiny())
    with pytest.raises(ValueError, match=r"config.seed=0, got config.seed=1"):
        claim_workdir(tmp_path / "run", tiny(seed=1))
    begun = tmp_path / "begun"
    begun.mkdir()
    left = (".config.json.partial", ".lock", ".lock.lease", partial_of(begun / CONFIG).name)
    for name in left:  # by others at this moment, or one that was killed
        (begun / name).touch()
    claim_workdir(begun, tiny())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="something else"):
        claim_workdir(tmp_path / "mine", tiny())


@pytest.mark.parametrize(
    ("name", "args", "match"),
    [
        ("train", ["--config=configs/emgauss.py", "--workdir=W"], "wanted a volume"),
        ("train", ["--config=configs/emgauss.py", "--config.sed=1"], "sed"),
        ("train", ["--config=configs/none.py", "--workdir=W"], "none.py"),
        ("train", [], "wanted --config"),
        ("reconstruct", ["--workdir=nowhere", "--output=o.ome.tif"], "wanted one made by train"),
        ("evaluate", ["--prediction=a.tif"], "--reference"),
        (
            "reconstruct",
            ["--workdir=W", "--output=o.tif", "--input=i.tif", "--input_missing=2,b"],
            "input_missing: got ['2', 'b'], wanted whole numbers",
        ),
    ],
)
def test_commands_fail_in_one_line(name, args, match, tmp_path):
    args = [arg.replace("W", str(tmp_path / "run")) for arg in args]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command(name, *args), capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and match in lines[0], done.stderr
    assert not (tmp_path / "run").exists()
