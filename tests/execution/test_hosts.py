"""Several processes on one run: shared out, killed, missing, failing; and TPU pods, refused."""

import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from emgauss_jax import sweep
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import open_volume
from emgauss_jax.execution.executors import hosts
from emgauss_jax.execution.heartbeats import Beat, read_beat, watching
from emgauss_jax.execution.hosts import joined, place_of
from emgauss_jax.execution.jobs import Job, phases, read_log
from emgauss_jax.execution.tpu_pods import refuse_tpu_pods
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.storage.files import write_json
from emgauss_jax.storage.run_dir import HOSTS
from emgauss_jax.sweeps.plan import read_config
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import ROOT, command, write

CONFIG = ROOT / "configs" / "siren.py"


def settings_of(folder):
    """A run of two regions of a block each, on a float32 stack, whose range is to be measured."""
    path = folder / "stack.ome.zarr"
    write(path, tissue((6, 24, 40), 0).astype(np.float32), (40.0, 10.0, 10.0))
    return {
        "data.path": str(path), "train.steps": "240", "train.steps_per_dispatch": "4",
        "train.checkpoint_every": "8", "siren.width": "4", "siren.layers": "1",
        "block.max_size": "(64,24,28)", "block.region": "(1,1,1)",
    }  # fmt: skip


def start(settings, workdir, index):
    flags = [f"--config.{key}={value}" for key, value in settings.items()]
    asked = command("train", f"--config={CONFIG}", *flags, f"--workdir={workdir}")
    return subprocess.Popen(
        [*asked, f"--hosts=2,{index}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def log_of(workdir, index):
    return workdir / "regions" / f"{index:06d}" / "metrics.jsonl"


def kill_in_its_fit(processes, workdir):
    """Kill each as soon as it has saved a checkpoint: the third line is logged after it."""
    alive = dict(enumerate(processes))
    while alive:
        for index, process in tuple(alive.items()):
            assert process.poll() is None, process.stderr.read()[-2000:]
            path = log_of(workdir, index)
            if path.exists() and path.read_text().count("\n") >= 3:
                process.send_signal(signal.SIGKILL)
                alive.pop(index).communicate()
        time.sleep(0.005)


def mark(path, index):
    """Mark the first line of a log: a fit that goes on keeps it, one begun anew replaces it."""
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(first) | {"of": index}) + "\n" + "".join(rest))


@pytest.mark.slow
def test_two_that_are_killed_go_on_each_from_its_own_checkpoint(tmp_path):
    settings = settings_of(tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    kill_in_its_fit([start(settings, two, index) for index in (0, 1)], two)
    for index in (0, 1):
        mark(log_of(two, index), index)
    config, other = read_config(CONFIG, settings), start(settings, two, 1)
    with hosts(two / HOSTS, 2, 0) as executor:
        train_and_evaluate(config, two, executor)
    train_and_evaluate(config, one)
    _, error = other.communicate(timeout=300)
    assert other.returncode == 0, error[-2000:]
    for index in (0, 1):
        lines = [json.loads(line) for line in log_of(two, index).read_text().splitlines()]
        assert lines[0].pop("of") == index
        assert lines == [json.loads(line) for line in log_of(one, index).read_text().splitlines()]
    volumes = [open_volume(each / "reconstruction.ome.zarr")[:, :, :] for each in (one, two)]
    np.testing.assert_array_equal(*volumes)
    done = [sorted((line["phase"], line["unit"]) for line in read_log(each)) for each in (one, two)]
    assert done[0] == done[1]
    assert not (two / HOSTS).exists()


def test_of_two_configs_the_second_is_refused_and_the_first_told_why(tmp_path):
    settings, run = settings_of(tmp_path) | {"train.steps": "2"}, tmp_path / "run"
    other = start(settings | {"seed": "1"}, run, 1)
    told = r"config.seed=1; choose another --workdir' from process 1 on .* tasks of 'fit' undone"
    with pytest.raises(ValueError, match=told), hosts(run / HOSTS, 2, 0) as executor:
        train_and_evaluate(read_config(CONFIG, settings), run, executor)
    _, error = other.communicate(timeout=300)
    assert other.returncode == 2
    assert "was made with config.seed=0, got config.seed=1" in error.splitlines()[-1]


def test_one_that_never_comes_is_named_and_another_count_goes_on(tmp_path):
    config = read_config(CONFIG, settings_of(tmp_path) | {"train.steps": "2"})
    run = tmp_path / "run"
    with (
        pytest.raises(ValueError, match=r"from process 1 \(never seen\) with 1 tasks of 'fit'"),
        hosts(run / HOSTS, 2, 0, patience_s=0.5) as executor,
    ):
        train_and_evaluate(config, run, executor)
    path = str(run / "reconstruction.ome.zarr")
    planned = phases(prepare(config, run), Job(str(run), True, path, None, ""))  # by another one
    with hosts(run / HOSTS, 1, 0) as executor:
        assert train_and_evaluate(config, run, executor) == pathlib.Path(path)
    # The journal of the tiles has gone with the volume's last step.
    assert [phase.name.split()[0] for phase in planned] == ["fit", "planes", "finish"]
    assert all(phase.done(task) for phase in planned for task in range(phase.count))
    assert [line["unit"] for line in read_log(run) if line["phase"] == "fit"] == [0, 1]
    assert not (run / HOSTS).exists()


def beat(folder, number, ended="", count=2):
    write_json(folder / "00001.json", Beat("a", number, "nodeB", count, ended)._asdict())


def watch(folder, *then):
    """Let process 0 wait for process 1, doing one thing after another; then all is done."""
    steps = iter(then)

    def undone():
        step = next(steps, None)
        if step:
            step()
        return (1,) if step else ()

    watching(folder, 2, 0, patience_s=0.5)("fit", undone)


def test_a_heartbeat_that_changes_is_waited_for_and_may_vanish(tmp_path):
    steps = [lambda number=number: beat(tmp_path, number) for number in range(4)]
    watch(tmp_path, *steps, lambda: (tmp_path / "00001.json").unlink())  # 5 x 0.2 s > 0.5 s


def test_what_an_earlier_start_has_left_is_neither_life_nor_failure(tmp_path):
    for ended, told in (("", r"process 1 \(on nodeB\)"), ("disk full", "last word 'disk full'")):
        beat(tmp_path, 7, ended)
        with pytest.raises(ValueError, match=f"no sign of life for 0.5 s from .*{told}"):
            watch(tmp_path, *[lambda: None] * 9)


def test_one_that_ends_by_an_error_or_was_told_another_count_is_believed_at_once(tmp_path):
    beat(tmp_path, 7, "disk full")
    with pytest.raises(ValueError, match="got 'no space' from process 1 on nodeB"):
        watch(tmp_path, lambda: beat(tmp_path, 0, "no space"), lambda: pytest.fail("waited on"))
    with pytest.raises(ValueError, match="got a process 1 of 3 on nodeB, wanted one of 2"):
        watch(tmp_path, lambda: beat(tmp_path, 1, count=3))


def test_a_process_leaves_word_of_an_error_and_of_sigterm(tmp_path):
    with pytest.raises(KeyError), joined(tmp_path / "hosts", 2, 1):
        raise KeyError("lost")
    assert read_beat(tmp_path / "hosts", 1).ended == "KeyError: 'lost'"
    waiting = (
        "import pathlib, sys, time; from emgauss_jax.execution.hosts import joined\n"
        "with joined(pathlib.Path(sys.argv[1]), 2, 0): print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", waiting, tmp_path / "hosts"], cwd=ROOT, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM
    assert read_beat(tmp_path / "hosts", 0).ended == "SIGTERM"


def test_one_index_is_one_process(tmp_path):
    with (
        joined(tmp_path / "hosts", 2, 1),
        pytest.raises(ValueError, match="locked by another process at work there"),
        joined(tmp_path / "hosts", 2, 1),
    ):
        pass


STEP = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("asked", "environ", "place"),
    [
        ("3,2", STEP, (3, 2)),
        ("auto", STEP, (4, 1)),
        ("auto", {"PMI_RANK": "0", "PMI_SIZE": "2"}, (2, 0)),
        # mpirun has started its daemons by srun, one for each node
        ("auto", STEP | {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8"}, (8, 5)),
    ],
)
def test_place(asked, environ, place):
    assert place_of(asked, environ) == place


@pytest.mark.parametrize(
    ("asked", "environ"),
    [
        ("localhost:1,2,0", {}),
        ("2,2", {}),
        ("0,0", {}),
        ("2", {}),
        ("2,-1", {}),
        ("auto", {}),
        ("auto", STEP | {"SLURM_STEP_ID": ""}),  # in a shell of sbatch
        ("auto", STEP | {"SLURM_STEP_ID": "4294967290"}),  # in one of salloc
        ("auto", {"PMI_RANK": "2", "PMI_SIZE": "2"}),
    ],
)
def test_places_that_cannot_be(asked, environ):
    with pytest.raises(ValueError, match=r"^hosts: got .*wanted .*COUNT,INDEX"):
        place_of(asked, environ)


POD = {"TPU_WORKER_HOSTNAMES": "t0,t1"}


@pytest.mark.parametrize(
    "environ",
    [
        POD,
        POD | {"JAX_PLATFORMS": "tpu,cpu"},
        {"TPU_WORKER_HOSTNAMES": "t0", "MEGASCALE_NUM_SLICES": "2"},
    ],
)
def test_a_tpu_pod_is_refused(environ):
    with pytest.raises(ValueError, match="TPU: got a pod"):
        refuse_tpu_pods(environ)


@pytest.mark.parametrize(
    "environ",
    [{"TPU_SKIP_MDS_QUERY": "1"}, {"TPU_WORKER_HOSTNAMES": "t0"}, POD | {"JAX_PLATFORMS": "cpu"}],
)
def test_a_single_tpu_host_and_no_tpu_are_not(environ):
    refuse_tpu_pods(environ)


def test_a_tpu_pod_that_only_its_cloud_knows_of_is_refused(monkeypatch):
    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path.endswith("/worker-network-endpoints") else 404)
            self.end_headers()
            self.wfile.write(b"unknown:8470:10.0.0.2,unknown:8470:10.0.0.3")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with http.server.HTTPServer(("localhost", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {"GCE_METADATA_IP": f"localhost:{server.server_port}"}
        with pytest.raises(ValueError, match=r"TPU: got a pod \(2 hosts a slice"):
            refuse_tpu_pods(environ)
        refuse_tpu_pods(environ | {"TPU_SKIP_MDS_QUERY": "1"})
        server.shutdown()


def test_commands_refuse_a_tpu_pod_in_one_line(monkeypatch, capsys, tmp_path):
    environ = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"} | POD
    done = subprocess.run(
        command("evaluate"), capture_output=True, text=True, cwd=ROOT, env=environ
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "t0,t1")
    monkeypatch.setattr(sys, "argv", ["sweep", "--config=none.py", f"--workdir={tmp_path}"])
    with pytest.raises(SystemExit):
        sweep.main()
    assert done.stderr == capsys.readouterr().err
    assert "error: TPU: got a pod" in done.stderr
