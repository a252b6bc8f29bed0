"""A volume larger than memory, end to end: time and peak memory.

python -m tests.benchmarks.scale --stack=isotropic.tif --folder=DIR [--shape=1025,2048,2048]
    [--config.KEY=VALUE ...]

Makes DIR/volume.ome.zarr of the stack, mirrored over and over, with noise of its own everywhere;
then runs the train command on every 8th plane of it.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

from emgauss_jax.data.tiling import block_grid
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.execution.jobs import read_log

ROOT = pathlib.Path(__file__).parents[2]
CHUNK = (64, 512, 512)  # voxels made at once
NOISE = 4.0  # grey levels, standard deviation


def make(stack: pathlib.Path, path: pathlib.Path, shape: tuple[int, int, int]) -> None:
    """Write the mirrored stack with noise, uint8."""
    volume = open_volume(stack)
    small = volume[:, :, :]
    with create_volume(path, shape, np.uint8, volume.voxel_nm) as writer:
        for index, box in enumerate(block_grid(shape, CHUNK, (0, 0, 0)).boxes):
            rng = np.random.default_rng(index)
            places = [
                mirrored(np.arange(part.start, part.stop), n)
                for part, n in zip(box.slices, small.shape, strict=True)
            ]
            values = small[np.ix_(*places)] + rng.normal(0, NOISE, box.shape)
            writer[box.slices] = np.clip(np.rint(values), 0, 255).astype(np.uint8)


def mirrored(places: np.ndarray, length: int) -> np.ndarray:
    """Fold coordinates back and forth into 0 ... length - 1."""
    folded = places % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def main() -> None:
    """Make the volume if it is not there, run, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stack", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--shape", default="1025,2048,2048")
    args, flags = parser.parse_known_args()
    path = args.folder / "volume.ome.zarr"
    shape = tuple(int(n) for n in args.shape.split(","))
    if not path.exists():
        make(args.stack, path, shape)
    command = [
        sys.executable, "-m", "emgauss_jax.train", f"--config={ROOT / 'configs' / 'emgauss.py'}",
        f"--workdir={args.folder / 'run'}", f"--config.data.path={path}",
        "--config.data.simulate_factor=8", *flags,
    ]  # fmt: skip
    start = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT)
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    totals: dict[str, float] = {}
    for task in read_log(args.folder / "run"):
        totals[task["phase"]] = totals.get(task["phase"], 0.0) + task["seconds"]
    print(f"{np.prod(shape) / 2**30:.2f} GiB: {seconds:.0f} s, peak memory {peak:.2f} GiB")
    print("\n".join(f"  {name}: {total:.0f} s" for name, total in totals.items()))


if __name__ == "__main__":
    main()
