"""Every script of docs/examples/ runs as it stands and does what it claims."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from emgauss_jax.data.phantom import tissue
from tests.tiny_runs import ROOT

FOLDER = ROOT / "docs" / "examples"


def run(name, *args):
    """Run an example: the numbers of each line that it prints, in order."""
    done = subprocess.run(
        [sys.executable, FOLDER / name, *map(str, args)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (re.findall(r"\d[\d.]*(?:e-?\d+)?", line) for line in done.stdout.splitlines())
    return [[float(number) for number in line] for line in lines]


def decibels(error):
    """Turn an error f[...] into the PSNR of images in [0, 1]."""
    return -10 * np.log10(np.mean(np.square(error)))


def an_image_is_fitted(name, folder):
    """The first PSNR is that of its mean; a wave of 16 px is smooth for Gaussians 2 px apart."""
    wave = 0.5 + 0.5 * np.cos(2 * np.pi / 16 * np.add.outer(np.arange(32), 0.5 * np.arange(40)))
    tifffile.imwrite(folder / "wave.tif", (255 * wave).astype(np.uint8))
    (start,), (end, count) = run(name, folder / "wave.tif")
    assert start == pytest.approx(decibels(wave - wave.mean()), abs=0.1)  # rounded to grey levels
    assert end > start + 10  # nine tenths of the variance explained
    assert count == 32 * 40 / 4


def a_rate_is_chosen_by_a_hidden_slice(name, folder):
    """A spline is linear between slices: it gains at least half of what their mean gains."""
    _, *rows = run(name, 60)
    scores = [score for _, score in rows]
    slices = tissue((17, 32, 32))[::2] / 255
    still = decibels(np.delete(slices, 4, axis=0).mean(axis=0) - slices[4])
    linear = decibels((slices[3] + slices[5]) / 2 - slices[4])
    assert rows[0][0] == 0 and scores[0] < (still + linear) / 2 < max(scores)
    assert scores[-1] < max(scores)  # the highest rate is too high


EXAMPLES = {
    "fit_an_image.py": an_image_is_fitted,
    "vmapped_sweep.py": a_rate_is_chosen_by_a_hidden_slice,
}


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_an_example_does_what_it_claims(name, tmp_path):
    EXAMPLES[name](name, tmp_path)
