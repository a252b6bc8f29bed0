"""Metrics by spatial frequency: CF-PSNR and Fourier shell correlation (FSC).

They run in NumPy with float64: float32 loses digits in shells of little power.

Letters: D H W volume, R bands, S shells. Frequencies are in cycles per voxel (Nyquist is 0.5); a
`radius` is a fraction of Nyquist.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import fft

CUTOFF = 0.39  # of Nyquist: niiv cuts off at 25 bins on 128 x 128 px
FULL_BAND = float(np.sqrt(2.0))  # of Nyquist: the corner of the spectrum
SHELLS = 32
CONE = 0.7  # |kz| > 0.7 |k|: within about 45 degrees of the z axis


@lru_cache(maxsize=3)  # one for each direction of a volume's planes
def _by_radius(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort the bins of a plane by radius: their order, and the radii."""
    y, x = np.fft.fftfreq(height), np.fft.fftfreq(width)
    distance = 2.0 * np.hypot(y[:, None], x[None, :]).ravel()
    order = np.argsort(distance, kind="stable")
    return order, distance[order]


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
    order, distance = _by_radius(height, width)
    # The 1e-9 keeps bins that lie on the radius but for rounding.
    last = np.searchsorted(distance, np.asarray(radii) + 1e-9, side="right") - 1
    planes = zip(*(each.reshape(-1, height, width) for each in (pred, ref)), strict=True)
    found = [np.cumsum(_power(a, b).ravel()[order])[last] for a, b in planes]
    with np.errstate(divide="ignore"):
        curves = 20.0 * np.log10(height * width) - 10.0 * np.log10(found)
    return curves.reshape(*pred.shape[:-2], len(last))


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the power spectrum of the difference of two images, f64[H, W]."""
    return np.abs(fft.fft2(np.asarray(a, np.float64) - np.asarray(b, np.float64))) ** 2


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


def tapered_spectrum(volume: np.ndarray, mean: float) -> np.ndarray:
    """Transform a volume less a mean, tapered by a 3-D Hann window: c128[D, H, W // 2 + 1]."""
    tapered = np.subtract(volume, mean, dtype=np.float64)
    for axis, length in enumerate(volume.shape):
        tapered *= np.expand_dims(np.hanning(length), [n for n in range(3) if n != axis])
    return fft.rfftn(tapered, overwrite_x=True)


def shell_correlations(
    a: np.ndarray,
    b: np.ndarray,
    width: int,
    cones: Sequence[float | None] = (None,),
    shells: int = SHELLS,
) -> np.ndarray:
    """Correlate two spectra in each shell of spatial frequency, see `fsc`.

    They are gone through plane by plane, so that nothing of their size is made.

    Args:
      a: c128[D, H, W // 2 + 1], of `tapered_spectrum`.
      b: c128[D, H, W // 2 + 1].
      width: W.
      cones: as `fsc` takes them.
      shells: S.

    Returns:
      f64[cones, S], nan where a shell is empty.
    """
    depth, height = a.shape[:2]
    lateral = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    sums = np.zeros((len(cones), 3, shells + 1))
    for kz, one, two in zip(np.abs(np.fft.fftfreq(depth)), a, b, strict=True):
        k = np.hypot(kz, lateral)
        shell = np.rint(2 * shells * k).astype(int)
        products = (
            one.real * two.real + one.imag * two.imag,
            one.real**2 + one.imag**2,
            two.real**2 + two.imag**2,
        )
        for i, cone in enumerate(cones):
            keep = (shell > 0) & (shell <= shells)
            if cone is not None:
                keep &= kz > cone * k
            for j, values in enumerate(products):
                sums[i, j] += np.bincount(shell[keep], values[keep], shells + 1)
    cross, power = sums[:, 0, 1:], sums[:, 1, 1:] * sums[:, 2, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, cross / np.sqrt(power), np.nan)


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
    mean = np.mean(b, dtype=np.float64)
    pair = (tapered_spectrum(each, mean) for each in (a, b))
    curve = shell_correlations(*pair, b.shape[2], (cone,), shells)[0]
    return np.arange(1, shells + 1) / (2.0 * shells), curve


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
