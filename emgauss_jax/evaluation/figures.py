"""Pictures of the report as PNGs in data URIs, so that the page is one file.

A picture of a plane has one pixel per voxel; the page magnifies it without smoothing. matplotlib is
imported by the functions that draw, because it takes a seventh of the start of every command.
"""

import base64
import io
import math
from typing import Any, NamedTuple

import numpy as np

PANEL = 212  # CSS px, width of a picture: six fit into the page's 1320
ERROR_MAP = "inferno"
COLORS = {
    "nearest": "#9a9a9a",
    "linear": "#4c78a8",
    "linear_blur": "#3a9e8f",
    "cubic": "#b279a2",
    "cubic_mean": "#8c6d31",
}
OURS = ("#d1342c", "#e8890c", "#111111")  # for the method of the page, then for other predictions


class View(NamedTuple):
    """One plane of a volume, and how the page shows it."""

    direction: str  # "xy", "xz" or "yz"
    index: int  # of the plane, along the axis at right angles to it
    plane: tuple  # index of the shown window into a volume [D, H, W]
    zoom: int  # CSS px per voxel along the columns
    size: tuple[int, int]  # CSS px, (height, width)
    nm_per_px: float  # nm per CSS px along the columns


def choose_views(
    shape: tuple[int, int, int], hidden: np.ndarray, voxel_nm: np.ndarray
) -> tuple[View, ...]:
    """Choose the planes to show: xy in the middle of a gap, and both axial planes at the centre.

    Args:
      shape: (D, H, W).
      hidden: bool[D], planes that were not observed.
      voxel_nm: f64[3], (z, y, x), nm.

    Returns:
      The three views, windows of at most 106 voxels a side around the centre.
    """
    window = [slice((n - min(n, PANEL // 2)) // 2, (n + min(n, PANEL // 2)) // 2) for n in shape]
    z, y, x = int(_farthest(hidden)), shape[1] // 2, shape[2] // 2
    chosen = {
        "xy": (z, (z, window[1], window[2]), 1, 2),
        "xz": (y, (window[0], y, window[2]), 0, 2),
        "yz": (x, (window[0], window[1], x), 0, 1),
    }
    views = []
    for direction, (index, plane, down, across) in chosen.items():
        length = [side.stop - side.start for side in window]
        zoom = max(1, PANEL // length[across])
        # Voxels keep their aspect ratio, so shapes on the page are true.
        height = round(zoom * length[down] * voxel_nm[down] / voxel_nm[across])
        size = height, zoom * length[across]
        views.append(View(direction, index, plane, zoom, size, voxel_nm[across] / zoom))
    return tuple(views)


def _farthest(hidden: np.ndarray) -> int:
    """Find the hidden plane farthest from an observed one; on a tie, the one nearest the centre."""
    planes, center = np.arange(len(hidden)), (len(hidden) - 1) / 2
    measured = planes[~hidden]
    if measured.size == 0:
        return len(hidden) // 2
    distance = np.abs(planes[:, None] - measured).min(axis=1)
    candidates = planes[distance == distance.max()]
    return candidates[np.argmin(np.abs(candidates - center))]


def grey_uri(plane: np.ndarray, window: tuple[float, float]) -> str:
    """Draw a plane in grey.

    Args:
      plane: f32[R, C], intensity.
      window: the intensity drawn in black, and the one drawn in white.

    Returns:
      A PNG as a data URI.
    """
    return _image_uri(plane, "gray", window)


def error_uri(plane: np.ndarray, highest: float) -> str:
    """Draw an absolute error in colour.

    Args:
      plane: f32[R, C], absolute error, intensity.
      highest: the error drawn in the brightest colour.

    Returns:
      A PNG as a data URI.
    """
    return _image_uri(plane, ERROR_MAP, (0.0, highest))


def color_bar_uri() -> str:
    """Draw the colour scale of `error_uri`, from 0 at the left to the highest, as a data URI."""
    return _image_uri(np.linspace(0, 1, 256)[None], ERROR_MAP, (0.0, 1.0))


def _image_uri(plane: np.ndarray, color_map: str, window: tuple[float, float]) -> str:
    import matplotlib
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    cmap = matplotlib.colormaps[color_map]
    imsave(buffer, plane, cmap=cmap, vmin=window[0], vmax=window[1], format="png")
    return _uri(buffer)


def _uri(buffer: io.BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def scale_bar(view: View) -> tuple[int, str]:
    """Choose the scale bar: the longest round length within 30 % of the view's width.

    Args:
      view: the plane that the bar is drawn on.

    Returns:
      The length in CSS px and as text.
    """
    wanted = view.nm_per_px * view.size[1] * 0.3
    power = 10.0 ** math.floor(math.log10(wanted))
    length = next(step * power for step in (5, 2, 1) if step * power <= wanted)
    text = f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm"
    return round(length / view.nm_per_px), text


def curves_uri(curves: dict, voxel_nm: np.ndarray, method: str) -> str:
    """Draw PSNR over z, both Fourier shell correlations, and CF-PSNR over the cut-off.

    Args:
      curves: as `scores.Evaluation.curves`.
      voxel_nm: f64[3], (z, y, x), nm.
      method: the prediction to draw thick and last.

    Returns:
      A PNG as a data URI.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.6, 7.4), dpi=150, layout="constrained")
    axes = figure.subplot_mosaic([["z"] * 3, ["fsc_z", "fsc", "band"]], height_ratios=(1, 1.15))
    others = [name for name in curves["psnr_z"] if name != method and name not in COLORS]
    styles = {name: {"color": color, "lw": 1.2} for name, color in COLORS.items()}
    for name, color in zip([method, *others], OURS * (1 + len(others)), strict=False):
        styles[name] = {"color": color, "lw": 2.2 if name == method else 1.4}
    order = sorted(curves["psnr_z"], key=lambda name: name == method)
    _draw_z(axes["z"], curves, order, styles)
    size = float(np.prod(voxel_nm) ** (1 / 3))
    _draw_fsc(axes["fsc_z"], curves, "fsc_z", order, styles, float(voxel_nm[0]))
    _draw_fsc(axes["fsc"], curves, "fsc", order, styles, size)
    axes["fsc_z"].set_title("correlation along z (cone)", loc="left", fontsize=10)
    axes["fsc"].set_title("correlation, all directions", loc="left", fontsize=10)
    for name in order:
        axes["band"].plot(curves["band"], curves["cf_psnr_xy"][name], **styles[name])
    axes["band"].set_title("CF-PSNR, hidden slices (xy)", loc="left", fontsize=10)
    axes["band"].set(xlabel="band, fraction of Nyquist", ylabel="dB")
    for each in axes.values():
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.25, lw=0.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _uri(buffer)


def _draw_z(axes: Any, curves: dict, order: list[str], styles: dict) -> None:
    z, hidden = np.array(curves["z"]), np.array(curves["hidden"])
    for name in order:
        values = np.where(hidden, np.array(curves["psnr_z"][name], float), np.nan)
        axes.plot(z, values, ".-", ms=3, label=name, **styles[name])
    for position in z[~hidden]:
        axes.axvline(position, color="#cccccc", lw=0.8, zorder=0)
    axes.set(xlabel="z, planes", ylabel="dB", xlim=(z[0] - 0.5, z[-1] + 0.5))
    axes.set_title(
        "PSNR of each hidden slice (grey lines: observed slices)", loc="left", fontsize=10
    )
    axes.legend(ncols=len(order), fontsize=8, frameon=False, loc="lower right",
                bbox_to_anchor=(1.0, 0.99), borderaxespad=0.2)  # fmt: skip


def _draw_fsc(
    axes: Any, curves: dict, kind: str, order: list[str], styles: dict, size_nm: float
) -> None:
    frequency = np.array(curves["frequency"]) / size_nm
    for name in order:
        axes.plot(frequency, np.array(curves[kind][name], float), **styles[name])
    for threshold in (0.143, 0.5):
        axes.axhline(threshold, color="black", lw=0.7, ls="--")
        axes.text(frequency[-1], threshold + 0.01, f"{threshold:g}", ha="right", fontsize=8)
    axes.set(xlabel="spatial frequency, nm$^{-1}$ (below: period, nm)", ylim=(-0.2, 1.02))
    ticks = frequency[-1] * np.arange(1, 5) / 4
    axes.set_xlim(0, frequency[-1] * 1.02)
    axes.set_xticks(ticks, [f"{tick:.3g}\n{1 / tick:.3g} nm" for tick in ticks])
