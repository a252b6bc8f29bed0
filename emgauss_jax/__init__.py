"""Continuous, isotropic volumes from anisotropic slice stacks.

    volume = emgauss_jax.reconstruct(stack, voxel_nm=(40, 8, 8))

Arrays in, arrays out: `reconstruct`, `fit`, `load`, `evaluate`. The building blocks below them are
for notebooks and forks; `docs/examples/` shows how some of them are used.
"""

import sys
import types

from emgauss_jax.api import Fit, Progress, Stopped, evaluate, fit, load, reconstruct
from emgauss_jax.data.errors import FitError, InputError
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.execution.config_file import load_config
from emgauss_jax.methods.base import Block, Method
from emgauss_jax.methods.emgauss.deformation import (
    DEFORMATIONS,
    Deformation,
    Depth,
    mlp,
    spline,
)
from emgauss_jax.methods.emgauss.method import build as build_emgauss
from emgauss_jax.methods.emgauss.model import Params, Settings, jittered_grid
from emgauss_jax.methods.emgauss.schedule import Stages
from emgauss_jax.metrics.fourier import cf_psnr, fsc_z
from emgauss_jax.metrics.fsim import fsim
from emgauss_jax.metrics.image import psnr, ssim
from emgauss_jax.pseudo_labels.registry import SOURCES
from emgauss_jax.pseudo_labels.source import Filled, Source, SourceKind
from emgauss_jax.render.gaussians import AlphaGaussians, Gaussians, Splats, activate
from emgauss_jax.render.rasterize import RenderSettings, rasterize
from emgauss_jax.training.optimizer import make_optimizer, optimizer_of
from emgauss_jax.training.state import State, init_state
from emgauss_jax.training.step import make_step

__version__ = "0.2.0.dev0"
__all__ = [
    "DEFORMATIONS",
    "SOURCES",
    "AlphaGaussians",
    "Block",
    "Deformation",
    "Depth",
    "Filled",
    "Fit",
    "FitError",
    "Gaussians",
    "InputError",
    "Method",
    "Params",
    "Progress",
    "RenderSettings",
    "Settings",
    "Source",
    "SourceKind",
    "Splats",
    "Stages",
    "State",
    "Stopped",
    "activate",
    "build_emgauss",
    "cf_psnr",
    "create_volume",
    "evaluate",
    "fit",
    "fsc_z",
    "fsim",
    "init_state",
    "jittered_grid",
    "load",
    "load_config",
    "make_optimizer",
    "make_step",
    "mlp",
    "open_volume",
    "optimizer_of",
    "psnr",
    "rasterize",
    "reconstruct",
    "spline",
    "ssim",
]


class _Package(types.ModuleType):
    """The package. Its commands `reconstruct` and `evaluate` are modules named like functions."""

    def __setattr__(self, name, value):
        """Keep a public name when a module of that name is loaded."""
        if name not in __all__ or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
