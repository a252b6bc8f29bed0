"""Metrics by spatial frequency: CF-PSNR and Fourier shell correlation (FSC).

They run in NumPy with float64: float32 loses digits in shells of little power.

Letters: D H W volume, R bands, S shells. Frequencies are in cycles per voxel (Nyquist is 0.5); a
`radius` is a fraction of Nyquist.
"""

import numpy as np
from scipy import fft

CUTOFF = 0.39  # of Nyquist: niiv cuts off at 25 bins on 128 x 128 px
FULL_BAND = float(np.sqrt(2.0))  # of Nyquist: the corner of the spectrum
SHELLS = 32
CONE = 0.7  # |kz| > 0.7 |k|: within about 45 degrees of the z axis


def _radius(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1])
    return 2.0 * np.hypot(y[:, None], x[None, :])


def cf_psnr_curve(pred: np.ndarray, ref: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Measure the PSNR of the low-passed error for several cut-off frequencies.

    Args:
      pred: f32[..., H, W], intensity, data range 1.
      ref: f32[..., H, W].
      radii: f64[R], cut-offs as fractions of Nyquist; sqrt(2) and above is the full band.

    Returns:
      f64[..., R], dB; +inf where there is no error below the cut-off.

    Source: niiv (arXiv 2024), CF-PSNR: 20 log10(H W) - 10 log10(sum |F_p - F_g|^2) over the bins
      within the radius. Difference: the radius is a fraction of Nyquist, not a number of bins, so
      that it means the same at any size.
    """
    height, width = pred.shape[-2:]
    difference = np.asarray(pred, np.float64) - np.asarray(ref, np.float64)
    power = np.abs(fft.fft2(difference)) ** 2
    distance = _radius((height, width)).ravel()
    order = np.argsort(distance, kind="stable")
    energy = np.cumsum(power.reshape(*power.shape[:-2], -1)[..., order], axis=-1)
    # The 1e-9 keeps bins that lie on the radius but for rounding.
    last = np.searchsorted(distance[order], np.asarray(radii) + 1e-9, side="right") - 1
    with np.errstate(divide="ignore"):
        return 20.0 * np.log10(height * width) - 10.0 * np.log10(energy[..., last])


def cf_psnr(pred: np.ndarray, ref: np.ndarray, radius: float = CUTOFF) -> np.ndarray:
    """Measure the PSNR of each image below a cut-off frequency (CF-PSNR).

    It ignores errors of fine detail and noise: only the error below the cut-off counts.

    Args:
      pred: f32[..., H, W], intensity, data range 1.
      ref: f32[..., H, W], the same shape.
      radius: the cut-off as a fraction of Nyquist; sqrt(2) and above gives the plain PSNR.

    Returns:
      f64[...], one value for every image, dB, higher is better; +inf where there is no error below
      the cut-off.

    Source: niiv (arXiv 2024); its 25 bins on 128 x 128 px are the default, 0.39 of Nyquist.
    """
    return cf_psnr_curve(pred, ref, np.array([radius]))[..., 0]


def _hann(shape: tuple[int, ...]) -> np.ndarray:
    z, y, x = (np.hanning(length) for length in shape)
    return z[:, None, None] * y[:, None] * x


def fsc(
    a: np.ndarray, b: np.ndarray, shells: int = SHELLS, cone: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Correlate two volumes in each shell of spatial frequency (Fourier shell correlation).

    The mean of b is subtracted from both, and a 3-D Hann window tapers both. Shell s holds the bins
    whose frequency rounds to s / shells of Nyquist; s = 0, the mean, is left out. Bins are those of
    the half spectrum of real data, each counted once.

    Args:
      a: f32[D, H, W].
      b: f32[D, H, W], the reference.
      shells: S, the number of shells up to Nyquist.
      cone: use only the bins with |kz| > cone |k|, which gives the correlation along z; None uses
        all.

    Returns:
      frequency f64[S], cycles per voxel, and correlation f64[S] in [-1, 1]; nan where a shell is
      empty.

    Source: Harauz and van Heel, Optik 1986; with a cone, Diebolder et al., J Struct Biol 2015.
    """
    window, mean = _hann(b.shape), np.mean(b, dtype=np.float64)
    spectrum_a = fft.rfftn((a - mean) * window)
    spectrum_b = fft.rfftn((b - mean) * window)
    kz, ky, kx = (np.fft.fftfreq(length) for length in b.shape)
    kz, ky, kx = np.abs(kz)[:, None, None], ky[:, None], np.fft.rfftfreq(b.shape[2])
    k = np.sqrt(kz**2 + ky**2 + kx**2)
    shell = np.rint(2 * shells * k).astype(int)
    keep = (shell > 0) & (shell <= shells)
    if cone is not None:
        keep &= kz > cone * k
    shell, spectrum_a, spectrum_b = shell[keep], spectrum_a[keep], spectrum_b[keep]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(shell, values, shells + 1)[1:]

    cross = total(spectrum_a.real * spectrum_b.real + spectrum_a.imag * spectrum_b.imag)
    power = total(np.abs(spectrum_a) ** 2) * total(np.abs(spectrum_b) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(power > 0, cross / np.sqrt(power), np.nan)
    return np.arange(1, shells + 1) / (2.0 * shells), correlation


def mean_of_lower_half(correlation: np.ndarray) -> float:
    """Average a correlation curve over the shells up to half of Nyquist.

    Args:
      correlation: f64[S]; empty shells (nan) are skipped.

    Returns:
      The mean; nan where every shell is empty.
    """
    lower = correlation[: len(correlation) // 2]
    return float(np.nanmean(lower)) if np.isfinite(lower).any() else float("nan")


def fsc_z(pred: np.ndarray, ref: np.ndarray) -> float:
    """Average the Fourier shell correlation along z up to half of Nyquist.

    It measures how much true structure along z a volume holds. An isotropic blur scales all bins of
    a shell alike and hardly changes their correlation, so blurring does not raise the score.

    Args:
      pred: f32[D, H, W], isotropic voxels, intensity of any range.
      ref: f32[D, H, W], the same shape.

    Returns:
      The mean over the lower 16 of 32 shells of the bins inside the cone |kz| > 0.7 |k|, in
      [-1, 1], higher is better; 1 for equal volumes, nan where no shell has power.

    Source: Diebolder et al., J Struct Biol 2015 (conical FSC); the mean as one score is ours.
    """
    return mean_of_lower_half(fsc(pred, ref, cone=CONE)[1])


def resolution_nm(freq: np.ndarray, curve: np.ndarray, threshold: float, voxel_nm: float) -> float:
    """Find the resolution: the period at which a correlation first falls below a threshold.

    Args:
      freq: f64[S], cycles per voxel, rising.
      curve: f64[S], correlation; empty shells (nan) are skipped, and it is 1 at frequency 0.
      threshold: usually 0.143 or 0.5.
      voxel_nm: voxel size along the direction of the curve, nm.

    Returns:
      nm, interpolated linearly in frequency; 2 voxels (Nyquist) where the curve never falls;
      nan for a curve of empty shells.
    """
    filled = np.isfinite(curve)
    if not filled.any():
        return float("nan")
    freq, curve = np.append(0.0, freq[filled]), np.append(1.0, curve[filled])
    below = np.flatnonzero(curve < threshold)
    if below.size == 0:
        return 2.0 * voxel_nm
    high, low = curve[below[0] - 1], curve[below[0]]
    fraction = (high - threshold) / (high - low)
    crossing = freq[below[0] - 1] + fraction * (freq[below[0]] - freq[below[0] - 1])
    return float(voxel_nm / crossing)
