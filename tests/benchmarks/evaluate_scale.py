"""Score a volume larger than memory: time and peak memory of `evaluate`.

python -m tests.benchmarks.evaluate_scale --folder=DIR [--shape=2049,1024,1024] [--every=8]

Makes DIR/reference.ome.zarr of a phantom, mirrored over and over, with noise of its own everywhere,
and DIR/prediction.ome.zarr, which is that with more noise; then runs the evaluate command.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.tiling import even_boxes
from emgauss_jax.data.volume import create_volume
from tests.benchmarks.scale import mirrored

ROOT = pathlib.Path(__file__).parents[2]
PHANTOM = (64, 128, 128)
NAMES = ("reference", "prediction")
NOISE = (6, 9)  # grey levels at most, of the reference, and more of the prediction


def make(folder: pathlib.Path, shape: tuple[int, int, int]) -> None:
    """Write both volumes, uint8."""
    small = tissue(PHANTOM)
    paths = [folder / f"{name}.ome.zarr" for name in NAMES]
    for path, noises in zip(paths, (NOISE[:1], NOISE), strict=True):
        with create_volume(path, shape, np.uint8, (10.0, 10.0, 10.0)) as writer:
            for index, box in enumerate(even_boxes(shape, (64, 512, 512))):
                rng = np.random.default_rng(index)
                places = [
                    mirrored(np.arange(part.start, part.stop), n)
                    for part, n in zip(box.slices, small.shape, strict=True)
                ]
                values = small[np.ix_(*places)].astype(np.int16)
                for most in noises:
                    values += rng.integers(-most, most + 1, box.shape, np.int8)
                writer[box.slices] = values.clip(0, 255).astype(np.uint8)


def score(folder: pathlib.Path, every: int) -> tuple[float, float, float]:
    """Run the command on both.

    Returns:
      Its seconds, those of its processor cores together, and its peak memory, GiB.
    """
    shutil.rmtree(folder / "scores", ignore_errors=True)
    paths = (f"--{name}={folder / name}.ome.zarr" for name in NAMES)
    command = [
        sys.executable, "-m", "emgauss_jax.evaluate", *paths, f"--observed_every={every}",
        f"--output={folder / 'scores'}",
    ]  # fmt: skip
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=ROOT)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    seconds = time.monotonic() - start
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def main() -> None:
    """Make the volumes if they are not there, score, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--shape", default="2049,1024,1024")
    parser.add_argument("--every", type=int, default=8)
    args = parser.parse_args()
    shape = tuple(int(n) for n in args.shape.split(","))
    if not (args.folder / "prediction.ome.zarr").exists():
        make(args.folder, shape)
    seconds, busy, peak = score(args.folder, args.every)
    size = f"{np.prod(shape) / 2**30:.2f} GiB"
    print(f"{size}: {seconds:.0f} s, {busy:.0f} s of a core, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
