"""FSIM against an independent implementation, and its plain properties."""

import importlib.util
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.metrics.fsim import fsim, fsim_features, fsim_from_features


def _image(shape, seed=0):
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.normal(size=shape), 3.0)
    texture = (texture - texture.min()) / np.ptp(texture)
    return np.clip(texture + 0.03 * rng.normal(size=shape), 0, 1).astype(np.float32)


def test_identical_images_score_one():
    a = np.stack([_image((48, 40), seed) for seed in range(2)])
    np.testing.assert_allclose(fsim(a, a), 1.0, atol=1e-6)


def test_falls_with_noise():
    clean = _image((64, 64))
    noise = np.random.default_rng(1).normal(size=clean.shape).astype(np.float32)
    noisy = np.stack([clean + level * noise for level in (0.02, 0.05, 0.1, 0.2)])
    scores = np.asarray(fsim(noisy, np.broadcast_to(clean, noisy.shape)))
    assert np.all(np.diff(scores) < -0.01)
    assert 0 < scores[-1] < scores[0] < 1


def test_sees_features_not_brightness():
    """A constant added leaves every feature inside as it was; a flat image has none of them."""
    clean = 0.5 * _image((64, 64))
    brighter, flat = clean + 0.1, np.full_like(clean, clean.mean())
    score = np.asarray(fsim(np.stack([brighter, flat]), np.stack([clean, clean])))
    assert score[0] > 0.99 > 0.8 > score[1]


def test_features_are_shared_and_symmetric():
    a, b = _image((1, 32, 48), 2), _image((1, 32, 48), 3)
    features_a, features_b = fsim_features(a), fsim_features(b)
    assert features_a.congruency.shape == features_a.gradient.shape == (1, 32, 48)
    forward = fsim_from_features(features_a, features_b)
    np.testing.assert_allclose(forward, fsim_from_features(features_b, features_a), rtol=1e-6)
    assert fsim_features(np.zeros((1, 512, 400), np.float32)).gradient.shape == (1, 256, 200)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 64), (65, 48), (129, 128), (129, 97), (520, 513)])
def test_equals_piq(shape, monkeypatch):
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("torchvision") is None:
        # piq imports it for its network-based metrics only; FSIM does without.
        for name in ("torchvision", "torchvision.models"):
            monkeypatch.setitem(sys.modules, name, MagicMock())
    piq = pytest.importorskip("piq")
    a = _image(shape, 4)
    for b in (np.clip(gaussian_filter(a, 1.0), 0, 1), _image(shape, 5), np.clip(1.2 * a, 0, 1)):
        pair = (torch.from_numpy(image)[None, None] for image in (a, b))
        expected = float(piq.fsim(*pair, data_range=1.0, chromatic=False))
        assert float(fsim(a[None], b[None])[0]) == pytest.approx(expected, abs=2e-4)
