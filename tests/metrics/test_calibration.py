"""An estimate of the error is judged by where it is large, and how large."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.metrics.calibration import Moments, add_errors, calibration_of


def calibrate(expected, error):
    return calibration_of(add_errors(Moments(), expected, error, (slice(None), slice(None))))


def field_of_noise():
    """Errors drawn with the deviation that was expected of them."""
    rng = np.random.default_rng(0)
    wave = gaussian_filter(rng.normal(size=(4, 200, 200)), (0, 12, 12))
    expected = 0.1 * np.exp(wave / wave.std())
    return expected, expected * rng.normal(size=expected.shape)


def test_an_honest_estimate():
    expected, error = field_of_noise()
    measured = calibrate(expected, error)
    # What a Gaussian of 3 px leaves of each draw's scatter is a fourteenth of its size.
    assert measured["correlation"] > 0.95
    assert measured["ratio"] == pytest.approx(1.0, abs=0.05)


def test_an_estimate_of_another_place_knows_nothing():
    expected, error = field_of_noise()
    assert abs(calibrate(expected, error[:, :, ::-1])["correlation"]) < 0.3
    assert calibrate(2 * expected, error)["ratio"] == pytest.approx(0.5, abs=0.05)


def test_a_constant_has_no_correlation():
    measured = calibrate(np.full((2, 9, 9), 0.3), np.ones((2, 9, 9)))
    assert np.isnan(measured["correlation"]) and measured["ratio"] == pytest.approx(1 / 0.3)
