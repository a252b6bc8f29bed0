"""Score volumes by what a fixed, simple segmenter makes of them.

python -m tests.benchmarks.segment --labels=labels.tif --reference=isotropic.tif \
    --observed_every=8 NAME=reconstruction.tif [NAME=...]

The segmenter is the same for all: a watershed on smoothed darkness (membranes are dark) from
markers where the distance to dark voxels is large. Scores against the labels: variation of
information (split + merge, bits) and adapted Rand error; lower is better, what matters is how
close a volume comes to the reference's own score. Linear interpolation is always in the table.
"""

import argparse

import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import watershed

from emgauss_jax.data.volume import open_volume
from emgauss_jax.methods.interpolate import weights

SIGMA = 1.0  # px, of the smoothing
QUANTILE = 0.4  # darker voxels than this share of the volume count as membrane
DISTANCE = 6.0  # px from a membrane: deeper inside than this is a marker


def segment(volume: np.ndarray) -> np.ndarray:
    """Segment f32[D, H, W], i32 labels from 1."""
    smooth = ndimage.gaussian_filter(np.asarray(volume, np.float32), SIGMA)
    inside = smooth > np.quantile(smooth, QUANTILE)
    distance = ndimage.distance_transform_edt(inside)
    markers, _ = ndimage.label(distance > DISTANCE)
    return watershed(-smooth, markers)


def agreement(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compare two segmentations where the truth is not 0."""
    split, merge = variation_of_information(truth, labels, ignore_labels=(0,))
    rand, _, _ = adapted_rand_error(truth, labels, ignore_labels=(0,))
    return {"split": split, "merge": merge, "voi": split + merge, "rand": rand}


def main() -> None:
    """Segment every volume and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--observed_every", type=int, required=True)
    parser.add_argument("volumes", nargs="+", metavar="NAME=PATH")
    args = parser.parse_args()
    if odd := [pair for pair in args.volumes if "=" not in pair]:
        parser.error(f"volumes: got {odd}, wanted NAME=PATH")
    paths = dict(pair.split("=", 1) for pair in args.volumes)
    volumes = {name: open_volume(path)[:, :, :] for name, path in paths.items()}
    shapes = {volume.shape for volume in volumes.values()}
    if len(shapes) != 1:
        parser.error(f"volumes: got shapes {sorted(shapes)}, wanted one")
    window = tuple(slice(0, n) for n in shapes.pop())
    reference, truth = (open_volume(p)[window] for p in (args.reference, args.labels))
    k = args.observed_every
    z = np.arange(len(reference))
    linear = np.tensordot(weights("linear", z[::k], z), reference[::k].astype(np.float64), 1)
    print("| volume | split | merge | voi | adapted Rand error |\n|---|---|---|---|---|")
    for name, volume in {"reference": reference, "linear": linear, **volumes}.items():
        values = agreement(segment(volume), truth).values()
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)


if __name__ == "__main__":
    main()
