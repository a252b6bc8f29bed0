"""Open thousands of files with damaged headers: each is read, or refused in a line, or a fault.

python -m tests.benchmarks.fuzz --files=5000 [--seed=0] [--only=mrc,nifti]

A process opens 100 files within 4 GiB beyond what it begins with, 10 seconds of computing (120 by
the clock) a file; where it dies or hangs another one goes on. A fault is printed with its format
and its seed: --only=FORMAT --seed=SEED --files=1 makes it again.
"""

import argparse
import collections
import os
import pathlib
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator

import jax
import numpy as np

from emgauss_jax.data import opening
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import DTYPES
from emgauss_jax.data.volume import open_volume
from emgauss_jax.execution.config_file import load_config
from emgauss_jax.pseudo_labels import store
from emgauss_jax.storage import network_file, pytrees, run_dir
from tests.benchmarks.fuzz_mutations import damage
from tests.benchmarks.fuzz_samples import SAMPLES, SHAPE, VOLUME, VOXEL_NM

EACH, BYTES = 100, 4 * 2**30  # files a process, memory beyond the start
SECONDS, WAITED = 10, 120  # for a file: of computing, and by the clock of a busy machine
SMALL = 2**20  # voxels: a volume that is read whole
OUTCOMES = ("same voxels", "other volume", "refused", "FAULT")
OUT_OF_MEMORY = re.compile(r"[Uu]nable to allocate|bad_alloc|MemoryError|[Cc]annot allocate")


class Fault(Exception):
    """A file that is neither read nor refused as it should be."""


def looked_at(form: str, folder: pathlib.Path, seed: int) -> str:
    """Make a damaged sample and open it.

    Args:
      form: of SAMPLES.
      folder: an empty one to write to.
      seed: of the damage.

    Returns:
      One of OUTCOMES, but for the last.

    Raises:
      Fault: it is read inconsistently, or takes more memory than there is.
      Exception: any other than an InputError is a fault.
    """
    sample = SAMPLES[form]
    path = folder / sample.name
    sample.make(path)
    damage(path, np.random.default_rng(seed))
    try:
        if form == "workdir":
            return _workdir(path)
        return _network(path) if form == "network" else _volume(path, sample.states_size)
    except InputError as error:
        _check_line(error)
        return OUTCOMES[2]


def _check_line(error: InputError) -> None:
    """Raise unless a refusal is one line, made before memory was taken."""
    text = str(error)
    if isinstance(error.__cause__, MemoryError) or OUT_OF_MEMORY.search(text):
        raise Fault(f"memory was asked for before the refusal: {text}")
    if len(text.splitlines()) != 1 or len(text) > 2000:
        raise Fault(f"got {len(text)} letters, wanted one line: {text[:300]}")


def _volume(path: pathlib.Path, states_size: bool) -> str:
    volume = open_volume(path, voxel_nm=None if states_size else VOXEL_NM)
    if len(volume.shape) != 3 or min(volume.shape) < 1 or volume.dtype.name not in DTYPES:
        raise Fault(f"got a volume of {volume.dtype}, shape {volume.shape}")
    box = tuple(
        slice(0, min(edge, length)) for edge, length in zip((2, 4, 4), volume.shape, strict=True)
    )
    corner = volume[box]
    if corner.shape != tuple(part.stop for part in box) or corner.dtype != volume.dtype:
        raise Fault(f"got a box of {corner.dtype}, shape {corner.shape}, wanted {volume.dtype}")
    if np.prod(volume.shape, dtype=float) > SMALL:
        return OUTCOMES[1]
    whole = volume[:]
    np.testing.assert_array_equal(whole[box], corner, "a box differs from the whole")
    volume.absent_chunks((slice(None),) * 3)
    _range(path, states_size)
    return OUTCOMES[0 if volume.shape == SHAPE and np.array_equal(whole, VOLUME) else 1]


def _range(path: pathlib.Path, states_size: bool) -> None:
    """Measure the grey levels as a run does."""
    config = load_config("emgauss").data
    config.path = str(path)
    if not states_size:
        config.voxel_nm = VOXEL_NM
    found = opening.open_stack(config).grey_range
    if not np.isfinite([found.low, found.high]).all():
        raise Fault(f"got grey levels {found}")


def _network(path: pathlib.Path) -> str:
    network_file.read_config(path)
    network_file.read_learned(path)
    arrays, _ = pytrees.read(network_file.file_of(path), network_file.KIND)
    wanted = {"weights": jax.ShapeDtypeStruct((4, 6), np.float32)}
    pytrees.like(pytrees.part(arrays, "params"), wanted, path)
    return OUTCOMES[0]


def _workdir(path: pathlib.Path) -> str:
    same = run_dir.plain(run_dir.read_workdir(path)) == run_dir.plain(load_config("emgauss"))
    run_dir.read_grey_range(path)
    run_dir.read_damaged(path)
    run_dir.read_absent(path)
    store.read_labels(path, np.arange(4, dtype=np.float32), 4)
    return OUTCOMES[0 if same else 1]


def work(jobs: list[tuple[str, int]], scratch: pathlib.Path) -> None:
    """Look at files one after another, and print what comes of each."""
    start = _data_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (start + BYTES, start + BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for index, (form, seed) in enumerate(jobs):
        folder = scratch / f"{index}"
        folder.mkdir()
        try:
            outcome, why = looked_at(form, folder, seed), ""
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{pathlib.Path(where.filename).name}:{where.lineno}"
            outcome, why = OUTCOMES[3], f"{type(error).__name__} at {place}: {error}"
        print(outcome, " ".join(why.split())[:600], sep="\t", flush=True)
        shutil.rmtree(folder)


def _data_bytes() -> int:
    """Read how much memory of its own this process has by now."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmData:\s+(\d+)", status).group(1))


def outcomes(jobs: list[tuple[str, int]]) -> Iterator[tuple[str, int, str, str]]:
    """Have files looked at by processes that may die: (format, seed, outcome, why)."""
    while jobs:
        batch, jobs = jobs[:EACH], jobs[EACH:]
        done = list(_of_process(batch))
        yield from ((*job, *found) for job, found in zip(batch, done, strict=False))
        jobs = batch[len(done) :] + jobs


def _of_process(batch: list[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    """Have a batch looked at by one process; ends early where that dies or hangs."""
    listed = ",".join(f"{form}:{seed}" for form, seed in batch)
    command = [sys.executable, "-m", "tests.benchmarks.fuzz", f"--work={listed}"]
    with (
        tempfile.TemporaryDirectory() as scratch,
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [*command, f"--folder={scratch}"], stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        for index in range(len(batch)):
            limit = SECONDS + (60 if index == 0 else 0)  # the first waits for the imports
            ready = _answers(process, limit)
            line = process.stdout.readline() if ready else ""
            if not line:
                process.kill()
                said.seek(0)
                words = " ".join(said.read().split())[-300:]
                died = f"the process died ({process.wait()}): {words}"
                yield OUTCOMES[3], died if ready else f"it took more than {SECONDS} s"
                return
            outcome, _, why = line.rstrip("\n").partition("\t")
            yield outcome, why


def _answers(process: subprocess.Popen, seconds: float) -> bool:
    """Wait until a process has printed a line, or died; False: it computes for too long."""
    start, clock = _computed(process.pid), time.monotonic()
    while not select.select([process.stdout], [], [], 0.5)[0]:
        late = time.monotonic() - clock > WAITED
        if late or _computed(process.pid) - start > seconds:
            return False
    return True


def _computed(pid: int) -> float:
    """Read how many seconds a process has computed."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def table(counts: dict[str, collections.Counter]) -> str:
    """Format how many files of each format had which outcome."""
    rows = [f"{'format':22}" + "".join(f"{name:>14}" for name in OUTCOMES)]
    total = sum(counts.values(), collections.Counter())
    for form, found in [*counts.items(), ("all", total)]:
        rows.append(f"{form:22}" + "".join(f"{found[name]:14}" for name in OUTCOMES))
    return "\n".join(rows)


def main() -> None:
    """Open so many files, print every fault and what came of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(SAMPLES))
    parser.add_argument("--work", default="", help="what a process is given by this command")
    parser.add_argument("--folder", type=pathlib.Path)
    args = parser.parse_args()
    if args.work:
        pairs = [job.split(":") for job in args.work.split(",")]
        work([(form, int(seed)) for form, seed in pairs], args.folder)
        return
    forms = args.only.split(",")
    jobs = [(forms[i % len(forms)], args.seed + i) for i in range(args.files)]
    counts = {form: collections.Counter() for form in forms}
    for form, seed, outcome, why in outcomes(jobs):
        counts[form][outcome] += 1
        if outcome == OUTCOMES[3]:
            print(f"{form} --seed={seed}: {why}", flush=True)
    print(table(counts))
    sys.exit(any(found[OUTCOMES[3]] for found in counts.values()))


if __name__ == "__main__":
    main()
