"""Every script of docs/examples/ runs as it stands and does what it claims."""

import contextlib
import io
import re
import runpy
import sys

import numpy as np
import pytest
import tifffile

import emgauss_jax as eg
from emgauss_jax.data.phantom import tissue
from tests.tiny_runs import ROOT

FOLDER = ROOT / "docs" / "examples"


def printed(name, folder, *args):
    """Run an example in a folder, as Python would: the lines that it prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(FOLDER / name), *map(str, args)])
        for names, added in ((eg.DEFORMATIONS, "low_rank"), (eg.SOURCES, "spline")):
            patch.setitem(names, added, None)  # so that it is gone after the example
            del names[added]
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    return out.getvalue().splitlines()


def numbers(line):
    """Read the numbers of a line, in order."""
    return [float(number) for number in re.findall(r"\d[\d.]*(?:e-?\d+)?", line)]


def run(name, folder, *args):
    """Run an example: the numbers of each line that it prints."""
    return [numbers(line) for line in printed(name, folder, *args)]


def decibels(error):
    """Turn an error f[...] into the PSNR of images in [0, 1]."""
    return -10 * np.log10(np.mean(np.square(error)))


def an_image_is_fitted(name, folder):
    """The first PSNR is that of its mean; a wave of 16 px is smooth for Gaussians 2 px apart."""
    wave = 0.5 + 0.5 * np.cos(2 * np.pi / 16 * np.add.outer(np.arange(32), 0.5 * np.arange(40)))
    tifffile.imwrite(folder / "wave.tif", (255 * wave).astype(np.uint8))
    (start,), (end, count) = run(name, folder, folder / "wave.tif")
    assert start == pytest.approx(decibels(wave - wave.mean()), abs=0.1)  # rounded to grey levels
    assert end > start + 10  # nine tenths of the variance explained
    assert count == 32 * 40 / 4


def a_rate_is_chosen_by_a_hidden_slice(name, folder):
    """A spline is linear between slices: it gains at least half of what their mean gains."""
    _, *rows = run(name, folder, 60)
    scores = [score for _, score in rows]
    slices = tissue((17, 32, 32))[::2] / 255
    still = decibels(np.delete(slices, 4, axis=0).mean(axis=0) - slices[4])
    linear = decibels((slices[3] + slices[5]) / 2 - slices[4])
    assert rows[0][0] == 0 and scores[0] < (still + linear) / 2 < max(scores)
    assert scores[-1] < max(scores)  # the highest rate is too high


def an_array_becomes_a_volume(name, folder):
    """Six gaps of eight planes; what is saved draws the same; linear is scored as it is."""
    few = ("train__steps=4", "prior__steps=0")
    _, volume, planes, _, again, linear, _ = printed(name, folder, *few)
    assert numbers(volume)[:3] == [6 * 8 + 1, 64, 64] and numbers(volume)[-3:] == [10, 10, 10]
    assert numbers(planes)[-3:] == [2, 64, 64] and again == "read again: the same voxels"
    truth = tissue((49, 64, 64)).astype(float)
    share, lower = np.arange(49)[:, None, None] % 8 / 8, np.arange(49) // 8 * 8
    between = (1 - share) * truth[lower] + share * truth[np.minimum(lower + 8, 48)]
    want = decibels((between - truth)[np.arange(49) % 8 > 0] / 255)
    assert numbers(linear) == [pytest.approx(want, abs=0.01)]


def a_deformation_is_learned(name, folder):
    """A Gaussian for four px; four knots in each of four gaps; a mixture begins at 0."""
    courses, mixture, _ = run(name, folder, 4)
    assert courses[:4] == [1, 8, 4 * 4 + 1, 3]
    assert mixture[:3] == [1, 48 * 48 / 4, 8] and mixture[3] > 0


def a_source_is_weighed(name, folder):
    lines = printed(name, folder, 2)
    assert [line.split()[2] for line in lines] == ["interpolation:", "flow:", "spline:"]
    assert sum(numbers(line)[0] for line in lines) == pytest.approx(1, abs=0.02)  # each rounded


EXAMPLES = {
    "own_data.py": an_array_becomes_a_volume,
    "new_deformation.py": a_deformation_is_learned,
    "new_source.py": a_source_is_weighed,
    "fit_an_image.py": an_image_is_fitted,
    "vmapped_sweep.py": a_rate_is_chosen_by_a_hidden_slice,
}


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_an_example_does_what_it_claims(name, tmp_path):
    EXAMPLES[name](name, tmp_path)
