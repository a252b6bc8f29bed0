"""Score the default beside linear interpolation where px are not square, and slices uneven.

python -m tests.benchmarks.uneven --stack=isotropic.tif [--steps=1500]

A crop of 65 x 128 x 128 voxels is observed every eighth plane with square px ("even"), the same
with px binned by two along y ("tall px"), and at uneven depths 6 to 9 planes apart ("uneven"). All
planes between are scored; with tall px against means of two rows of px.
"""

import argparse
import time

import numpy as np

import emgauss_jax as eg
from emgauss_jax.data.volume import open_volume
from emgauss_jax.metrics import fourier, image

UNEVEN = (0, 7, 16, 22, 31, 39, 46, 55, 64)
COLUMNS = ("psnr", "ssim_xy", "fsc_z")


def cases(volume: np.ndarray, nm: float) -> dict[str, tuple]:
    """Make name -> what to fit: slices, their voxel size, planes, settings; and the reference."""
    even, uneven = np.arange(0, len(volume), 8), np.array(UNEVEN)
    smooth = (volume[:, :-1] + volume[:, 1:].astype(np.float32)) / 2
    binned = np.rint(smooth[:, ::2]).astype(np.uint8)
    depths = {"data__z_nm": uneven * nm}
    return {
        "even": (volume[even], (8 * nm, nm, nm), even, {}, volume),
        "tall px": (binned[even], (8 * nm, 2 * nm, nm), even, {}, smooth),
        "uneven": (volume[uneven], (8 * nm, nm, nm), uneven, depths, volume),
    }


def score(case: tuple, steps: int) -> dict[str, dict[str, float]]:
    """Fit a case by the default and linearly: name -> metric -> value."""
    stack, voxel_nm, planes, settings, reference = case
    less = {"train__steps": steps, "prior__steps": steps}
    hidden = ~np.isin(np.arange(len(reference)), planes)
    wanted, found = reference / np.float32(255), {}
    for name, own in (("linear", {}), ("emgauss", less)):
        start = time.monotonic()
        fit = eg.fit(stack, voxel_nm=voxel_nm, config=name, **settings, **own)
        drawn = fit.volume() / np.float32(255)
        found[name] = {
            "s": time.monotonic() - start,
            "psnr": -10 * np.log10(np.square(drawn - wanted)[hidden].mean(dtype=np.float64)),
            "ssim_xy": float(image.ssim(drawn[hidden], wanted[hidden]).mean()),
            "fsc_z": fourier.fsc_z(drawn, wanted),
        }
    return found


def main() -> None:
    """Print a row per case and method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stack", required=True)
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    volume = open_volume(args.stack)
    for name, case in cases(volume[:65, :128, :128], volume.voxel_nm[2]).items():
        for method, one in score(case, args.steps).items():
            values = "  ".join(f"{each} {one[each]:.3f}" for each in COLUMNS)
            print(f"{name:8s} {method:8s} {values}  {one['s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
