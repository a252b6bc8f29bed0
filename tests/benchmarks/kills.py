"""Kill train and reconstruct at random moments, and compare with a run that nobody disturbs.

python -m tests.benchmarks.kills --folder=DIR [--kills=50] [--seed=0]

A zarr volume of 16 regions is fitted, written and drawn again with its expected error. A process is
killed (SIGKILL) some seconds after its start, then the same command is started again, until so many
kills have been made and all is done. Every file of the outputs must have the same bytes as those of
the undisturbed run, and no task may have been finished twice.
"""

import argparse
import collections
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np

from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import create_volume
from emgauss_jax.execution.jobs import read_log

ROOT = pathlib.Path(__file__).parents[2]
SHAPE, VOXEL_NM = (9, 528, 528), (40.0, 10.0, 10.0)
SETTINGS = (
    "--config.block.max_size=(26,144,144)", "--config.block.region=(1,1,1)",
    "--config.train.steps=40", "--config.train.steps_per_dispatch=5",
    "--config.train.checkpoint_every=10", "--config.prior.steps=10",
    "--config.prior.probe_steps=5", "--config.lateral.features=4", "--config.lateral.blocks=1",
)  # fmt: skip
OUTPUTS = ("run/reconstruction.ome.zarr", "more.ome.zarr", "error.ome.zarr")
LONGEST_S = 16.0  # until a kill


def commands(folder: pathlib.Path) -> list[list[str]]:
    """List the commands whose outputs are compared."""
    python, workdir = [sys.executable, "-m"], f"--workdir={folder / 'run'}"
    volume = folder.parent / "stack.ome.zarr"
    outputs = [f"--output={folder / OUTPUTS[1]}", f"--uncertainty={folder / OUTPUTS[2]}"]
    train = ["--config=emgauss", f"--config.data.path={volume}", *SETTINGS]
    return [
        [*python, "emgauss_jax.train", *train, workdir],
        [*python, "emgauss_jax.reconstruct", workdir, "--factor=3", *outputs],
    ]


def run(command: list[str], seconds: float | None) -> bool:
    """Run a command and kill it after so many seconds.

    Returns:
      Whether it came to its end before.
    """
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        _, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{error}")
    return True


def disturbed(folder: pathlib.Path, kills: int, chance: random.Random) -> int:
    """Run the commands until they are done, killing at most so many times; return how often."""
    made = 0
    for command in commands(folder):
        while not run(command, chance.uniform(0.5, LONGEST_S) if made < kills else None):
            made += 1
    return made


def differences(folder: pathlib.Path, whole: pathlib.Path) -> list[str]:
    """Name the files of the outputs that are not the same in two folders."""
    found = []
    for output in OUTPUTS:
        files = [
            {path.relative_to(each / output): path for path in (each / output).rglob("*")}
            for each in (folder, whole)
        ]
        found += [f"{output}/{name}" for name in files[0].keys() ^ files[1].keys()]
        found += [
            f"{output}/{name}"
            for name in files[0].keys() & files[1].keys()
            if files[0][name].is_file()
            and files[0][name].read_bytes() != files[1][name].read_bytes()
        ]
    return found


def done_twice(folder: pathlib.Path) -> list[tuple[str, int]]:
    """List the tasks of a train that were finished more than once."""
    counted = collections.Counter(
        (line["phase"], line["unit"]) for line in read_log(folder / "run")
    )
    return [task for task, count in counted.items() if count > 1]


def main() -> None:
    """Make the volume, the undisturbed run and disturbed ones, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    with create_volume(args.folder / "stack.ome.zarr", SHAPE, np.uint8, VOXEL_NM) as writer:
        writer[:, :, :] = tissue(SHAPE, 0)
    start, whole = time.monotonic(), args.folder / "whole"
    disturbed(whole, 0, random.Random(0))
    print(f"undisturbed: {time.monotonic() - start:.0f} s", flush=True)
    left, chance, failed = args.kills, random.Random(args.seed), False
    for count in range(args.kills):
        if not left:
            break
        folder = args.folder / f"disturbed{count}"
        killed = disturbed(folder, left, chance)
        left -= killed
        unlike, twice = differences(folder, whole), done_twice(folder)
        tasks = len(read_log(folder / "run"))
        print(
            f"{folder.name}: {killed} kills, {tasks} tasks, {len(twice)} of them finished twice "
            f"{twice[:3]}, {len(unlike)} files differ {unlike[:3]}",
            flush=True,
        )
        failed |= bool(unlike or twice)
        shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
