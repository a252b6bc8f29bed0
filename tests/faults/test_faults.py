"""What a machine can do to a run: it ends in one line, and the same command goes on.

docs/faults.md is the table of these. Every run is compared with one that nobody has disturbed.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.execution.jobs import read_log
from tests.tiny_runs import ROOT

pytestmark = pytest.mark.slow
SHAPE, CHUNK = (6, 120, 70), (6, 40, 70)  # three regions along y, and a chunk for each
SETTINGS = (
    "--config=emgauss", "--config.train.steps=20", "--config.train.steps_per_dispatch=5",
    "--config.train.checkpoint_every=10", "--config.prior.steps=5",
    "--config.prior.probe_steps=2", "--config.prior.flow=False", "--config.lateral.features=4",
    "--config.lateral.blocks=1", "--config.block.max_size=(64,48,72)",
    "--config.block.overlap=(4,8,8)", "--config.block.region=(1,1,1)",
    "--config.output.chunk=(16,32,32)",
)  # fmt: skip
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c")


def stack_in(folder):
    path = folder / "stack.ome.zarr"
    with create_volume(path, SHAPE, np.float32, (40.0, 10.0, 10.0), chunk=CHUNK) as writer:
        writer[:, :, :] = tissue(SHAPE, 0).astype(np.float32)
    return path


def train(stack, workdir, *more):
    data, folder = f"--config.data.path={stack}", f"--workdir={workdir}"
    return [sys.executable, "-m", "emgauss_jax.train", *SETTINGS, data, folder, *more]


def reconstruct(workdir, folder):
    outputs = [f"--output={folder}/planes.ome.zarr", f"--uncertainty={folder}/errors.ome.tif"]
    return [sys.executable, "-m", "emgauss_jax.reconstruct", f"--workdir={workdir}", *outputs]


def run(command, **env):
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=400, env=os.environ | env
    )


def ends_well(command, **env):
    done = run(command, **env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def ends_in_a_line(done, *words):
    """Hold an exit code of 2 and the last line of what a command said against what it should."""
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr[-2000:]
    assert said[-1].startswith("error: ") and all(word in said[-1] for word in words), said[-1]
    assert "Traceback" not in done.stderr


def voxels(path):
    return open_volume(path)[:, :, :]


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def nothing_is_lost(workdir, undisturbed):
    """Every byte of the output is there, and no task was finished twice."""
    name = "reconstruction.ome.zarr"
    assert files(workdir / name) == files(undisturbed / name)
    tasks = [(line["phase"], line["unit"]) for line in read_log(workdir)]
    assert sorted(tasks) == sorted(
        {(line["phase"], line["unit"]) for line in read_log(undisturbed)}
    )
    assert (workdir / "report" / "report.html").exists()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A stack, and what is made of it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ends_well(train(stack_in(folder), folder / "run"))
    ends_well(reconstruct(folder / "run", folder))
    return folder


def in_namespace(tmp_path, script):
    """Run a script where file systems can be mounted that nobody else sees."""
    if not shutil.which("unshare") or run([*NAMESPACE, "mount -t tmpfs none /mnt"]).returncode:
        pytest.skip("mounts of one's own are not allowed here")
    return run([*NAMESPACE, f"set -e; cd {ROOT}; {script}"])


def told(done):
    """Read what `try` of the scripts below has written: (exit code, last line) of every start."""
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


TRY = r"""
try() {
  code=0; "$@" >/dev/null 2>"$LOG" || code=$?
  python3 -c 'import json, sys; said = open(sys.argv[2]).read(); print(json.dumps([
    int(sys.argv[1]), said.strip().splitlines()[-1:], "Traceback" in said]))' $code "$LOG"
}
"""


def test_a_full_disk(tmp_path, undisturbed):
    """A disk that is made larger step by step: at each a run ends in a line, the last ends well."""
    stack = undisturbed / "stack.ome.zarr"
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    command = " ".join(f"'{part}'" for part in train(stack, disk / "run"))
    sizes = ["64k", "300k", "700k", "1200k", "2m", "4m", "8m", "64m"]
    steps = "; ".join(f"mount -o remount,size={size} {disk}; try {command}" for size in sizes)
    script = f"LOG={tmp_path}/log; {TRY} mount -t tmpfs -o size=64k none {disk}; {steps}"
    ends = told(in_namespace(tmp_path, f"{script}; cp -r {disk}/run {saved}"))
    assert len(ends) == len(sizes) and ends[-1][0] == 0
    full = [end for end in ends if end[0]]
    assert len(full) >= 2
    for code, last, traceback in full:
        assert code == 2 and last[0].startswith("error: ") and not traceback, last
        assert "space" in last[0].lower(), last
    nothing_is_lost(saved, undisturbed / "run")


@pytest.mark.parametrize("suffix", [".ome.tif", ".mrc", ".npy", ".h5"])
def test_a_full_disk_under_an_output_of_one_file(tmp_path, undisturbed, suffix):
    """Mapped files, above all: who writes one where there is no space is killed by the system."""
    disk, log = tmp_path / "disk", tmp_path / "log"
    disk.mkdir()
    create = (
        "import sys; from emgauss_jax.data.volume import open_volume, create_volume; "
        "from emgauss_jax.execution.command import fail, told_in_a_line\n"
        f"values = open_volume('{undisturbed}/run/reconstruction.ome.zarr')[:, :, :]\n"
        "try:\n"
        f"  with create_volume('{disk}/v{suffix}', values.shape, 'float32', [10] * 3) as writer:\n"
        "    writer[:, :, :] = values\n"
        "except Exception as error: fail(error) if told_in_a_line(error) else sys.exit(7)\n"
    )
    (tmp_path / "create.py").write_text(create)
    command = f"try {sys.executable} {tmp_path}/create.py"
    script = (
        f"LOG={log}; {TRY} mount -t tmpfs -o size=128k none {disk}; {command}; ls -A {disk} >&2; "
        f"mount -o remount,size=8m {disk}; {command}"
    )
    refused, done = told(in_namespace(tmp_path, script))
    assert refused[0] == 2 and refused[1][0].startswith("error: "), refused
    assert done[0] == 0


def test_an_output_that_is_read_only(tmp_path, undisturbed):
    folder = tmp_path / "out"
    folder.mkdir()
    command = " ".join(f"'{part}'" for part in reconstruct(undisturbed / "run", folder))
    script = (
        f"LOG={tmp_path}/log; {TRY} mount --bind {folder} {folder}; "
        f"mount -o remount,ro,bind {folder}; try {command}; "
        f"mount -o remount,rw,bind {folder}; try {command}"
    )
    refused, done = told(in_namespace(tmp_path, script))
    assert refused[0] == 2 and not refused[2]
    assert refused[1][0].startswith("error: ") and "Read-only file system" in refused[1][0]
    assert done[0] == 0
    assert files(folder / "planes.ome.zarr") == files(undisturbed / "planes.ome.zarr")
    np.testing.assert_array_equal(
        voxels(folder / "errors.ome.tif"), voxels(undisturbed / "errors.ome.tif")
    )


def chunk_of_region(stack, region):
    return next((stack / "0").glob(f"c/0/{region}/0"))


def killed_after(command, workdir, tasks):
    """Start a command and kill it as soon as so many tasks are done."""
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while len(read_log(workdir)) < tasks:
        assert process.poll() is None, "it was not to end before it was killed"
        time.sleep(0.02)
    process.kill()
    process.wait()


def test_a_chunk_that_turns_unreadable_in_the_middle(tmp_path, undisturbed):
    stack = pathlib.Path(
        shutil.copytree(undisturbed / "stack.ome.zarr", tmp_path / "stack.ome.zarr")
    )
    command = train(stack, tmp_path / "run")
    killed_after(command, tmp_path / "run", 1)
    chunk = chunk_of_region(stack, 2)
    kept = chunk.read_bytes()
    chunk.write_bytes(kept[: len(kept) // 2])
    ends_in_a_line(run(command), "stack.ome.zarr", "cannot be read as zarr3")
    chunk.write_bytes(kept)
    ends_well(command)
    nothing_is_lost(tmp_path / "run", undisturbed / "run")


def test_a_clock_that_jumps(tmp_path, undisturbed):
    """It does so on one of two hosts, which tell by heartbeats who lives."""
    stack, clock = undisturbed / "stack.ome.zarr", ROOT / "tests" / "faults" / "jumping_clock"
    paths = os.pathsep.join(filter(None, (str(clock), os.environ.get("PYTHONPATH"))))
    hosts = [
        subprocess.Popen(
            train(stack, tmp_path / "run", f"--hosts=2,{index}"), cwd=ROOT, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | env,
        )
        for index, env in enumerate(({}, {"PYTHONPATH": paths}))
    ]  # fmt: skip
    for host in hosts:
        _, said = host.communicate(timeout=400)
        assert host.returncode == 0, said[-2000:]
    nothing_is_lost(tmp_path / "run", undisturbed / "run")
