"""CF-PSNR against Parseval, FSC against its two limits and against published numbers."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from emgauss_jax.metrics import fourier, image

REAL = Path("../shared/data/fib25_a.ome.tif")


@pytest.mark.parametrize("shape", [(128, 128), (33, 20), (129, 64)])
def test_full_band_is_psnr(shape):
    pred, ref = np.random.default_rng(0).random((2, 3, *shape))
    expected = -10 * np.log10(np.mean((pred - ref) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(fourier.cf_psnr(pred, ref, np.sqrt(2)), expected, atol=1e-9)


def test_equals_the_psnr_of_the_low_passed_error():
    pred, ref = np.random.default_rng(1).random((2, 128, 128))
    spectrum = np.fft.fftshift(np.fft.fft2(pred - ref))
    y, x = np.mgrid[-64:64, -64:64]
    spectrum[y**2 + x**2 > 25**2] = 0  # the published band
    error = np.fft.ifft2(np.fft.ifftshift(spectrum))
    assert np.abs(error.imag).max() < 1e-12
    expected = -10 * np.log10(np.mean(error.real**2))
    assert fourier.cf_psnr(pred, ref, 25 / 64) == pytest.approx(expected, abs=1e-9)
    assert fourier.cf_psnr(pred, ref) == pytest.approx(expected, abs=0.2)


def test_curve_falls_as_the_band_widens():
    pred, ref = np.random.default_rng(2).random((2, 32, 32))
    radii = np.array([0.1, 0.39, 1.0, 1.5])
    curve = fourier.cf_psnr_curve(pred, ref, radii)
    assert np.all(np.diff(curve) < 0)
    for radius, value in zip(radii, curve, strict=True):
        assert fourier.cf_psnr(pred, ref, radius) == value


def test_fsc_of_a_volume_with_itself_is_one():
    volume = np.random.default_rng(3).random((33, 32, 40))
    for cone in (None, 0.7):
        freq, curve = fourier.fsc(volume, volume, 16, cone)
        assert freq[-1] == 0.5 and len(freq) == len(curve) == 16
        np.testing.assert_allclose(curve, 1.0, atol=1e-12)
    # Normalised shell by shell: neither gain nor offset-free blur can move it.
    np.testing.assert_allclose(
        fourier.fsc(3 * (volume - volume.mean()) + volume.mean(), volume)[1],
        fourier.fsc(volume, volume)[1],
    )


def test_fsc_of_independent_noise_is_about_zero():
    size, shells = 48, 12
    a, b = np.random.default_rng(4).normal(size=(2, size, size, size))
    freq, curve = fourier.fsc(a, b, shells)
    # Over M independent complex bins the correlation has standard deviation 1 / sqrt(2 M). A Hann
    # window leaves 1 / 1.5 independent bins per bin and axis; the half spectrum, half a sphere.
    thickness = 0.5 / shells
    bins = 2 * np.pi * freq**2 * thickness * size**3
    deviation = 1 / np.sqrt(2 * bins / 1.5**3)
    assert np.all(np.abs(curve) < 5 * deviation)
    assert deviation[-1] < 0.02 < deviation[0]


def test_cone_sees_only_what_varies_along_z():
    size = 64
    index = np.arange(size)
    rng = np.random.default_rng(5)
    along_z = np.broadcast_to(np.sin(2 * np.pi * index * 8 / size)[:, None, None], [size] * 3)
    along_x = np.broadcast_to(np.sin(2 * np.pi * index * 8 / size), [size] * 3)
    noise = 1e-3 * rng.normal(size=(2, size, size, size))
    shell = 8 - 1  # 8 cycles in 64 voxels: a quarter of Nyquist, shell 8 of 32
    same_z = along_z + noise[0], along_z + noise[1]
    same_x = along_x + noise[0], along_x + noise[1]
    assert fourier.fsc(*same_z, cone=0.7)[1][shell] > 0.99
    assert fourier.fsc(*same_x)[1][shell] > 0.99
    assert abs(fourier.fsc(*same_x, cone=0.7)[1][shell]) < 0.5


def test_empty_shells_are_nan_and_passed_over():
    volume = np.random.default_rng(6).random((11, 12, 13))
    curve = fourier.fsc(volume, volume, cone=0.7)[1]
    assert np.isnan(curve).any()
    assert fourier.fsc_z(volume, volume) == pytest.approx(1.0)


def test_resolution_is_where_the_line_crosses():
    freq = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    curve = np.array([1.0, 0.9, np.nan, 0.5, 0.1])
    assert fourier.resolution_nm(freq, curve, 0.5, 8.0) == pytest.approx(8 / 0.4)
    assert fourier.resolution_nm(freq, curve, 0.3, 8.0) == pytest.approx(8 / 0.45)
    assert fourier.resolution_nm(freq, curve, 0.7, 8.0) == pytest.approx(8 / 0.3)
    assert fourier.resolution_nm(freq, curve, 0.05, 8.0) == 16.0
    assert fourier.resolution_nm(freq, curve - 1, 0.5, 8.0) == pytest.approx(8 / 0.05)
    assert np.isnan(fourier.resolution_nm(freq, np.full(5, np.nan), 0.5, 8.0))


@pytest.mark.slow
def test_linear_interpolation_scores_what_was_published():
    if not REAL.exists():
        pytest.skip(f"real data is absent: {REAL}")
    factor, count = 8, 16
    reference = tifffile.imread(REAL)[: factor * count + 1].astype(np.float32) / 255
    observed = reference[::factor]
    z = np.arange(len(reference)) / factor
    lower = np.minimum(z.astype(int), count - 1)
    fraction = (z - lower).astype(np.float32)[:, None, None]
    linear = observed[lower] * (1 - fraction) + observed[lower + 1] * fraction
    hidden = np.arange(len(reference)) % factor != 0
    a, b = linear[hidden], reference[hidden]
    assert float(image.psnr(a, b)) == pytest.approx(24.07, abs=0.006)
    assert float(image.psnr(a, b, axis=(-2, -1)).mean()) == pytest.approx(24.49, abs=0.006)
    assert float(image.ssim(a, b).mean()) == pytest.approx(0.591, abs=0.0006)
    assert fourier.fsc_z(linear, reference) == pytest.approx(0.401, abs=0.0006)
