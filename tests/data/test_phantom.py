"""The phantom: reproducible, isotropic, and as hard to interpolate as tissue."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.phantom import tissue


@pytest.fixture(scope="module")
def block():
    return tissue((65, 64, 64), seed=0)


def test_same_seed_same_volume():
    np.testing.assert_array_equal(tissue((9, 20, 24), seed=5), tissue((9, 20, 24), seed=5))


def test_seeds_differ():
    a, b = (tissue((9, 20, 24), seed=s).astype(float) for s in (5, 6))
    assert np.abs(a - b).mean() > 10  # noise alone, sigma 5, would differ by 5.6


def test_shape_and_type(block):
    assert block.shape == (65, 64, 64)
    assert block.dtype == np.uint8
    assert tissue((3, 5, 4)).shape == (3, 5, 4)


def test_voxel_size_sets_the_scale(block):
    # Half the voxel size shows half the tissue: fewer edges per voxel, noise smoothed away.
    fine = tissue((65, 64, 64), seed=0, voxel_nm=5.0)
    steep = [np.mean(np.abs(np.diff(gaussian_filter(v.astype(float), 1.0)))) for v in (block, fine)]
    assert steep[1] < 0.8 * steep[0]


def test_gradients_are_isotropic(block):
    smooth = gaussian_filter(block.astype(float), 1.0)  # edges, not noise
    steep = [np.sqrt(np.mean(g**2)) for g in np.gradient(smooth)]
    assert max(steep) < 1.35 * min(steep)
    sharpest = [np.quantile(np.abs(g), 0.99) for g in np.gradient(smooth)]
    assert max(sharpest) < 1.35 * min(sharpest)


def test_has_the_contrast_of_tissue(block):
    dark, light = np.quantile(gaussian_filter(block.astype(float), 1.0), [0.02, 0.9])
    assert dark < 105  # membranes and mitochondria
    assert light > 135  # cytoplasm
    assert 20 < block.std() < 50


def test_linear_interpolation_scores_as_on_tissue(block):
    volume = block / 255.0
    below = np.arange(64) // 8 * 8
    fraction = (np.arange(64) % 8 / 8)[:, None, None]
    guess = (1 - fraction) * volume[below] + fraction * volume[below + 8]
    hidden = np.arange(64) % 8 > 0
    psnr = -10 * np.log10(np.mean((guess[hidden] - volume[:64][hidden]) ** 2))
    assert 21 < psnr < 27
