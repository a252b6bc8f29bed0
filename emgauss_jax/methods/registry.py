"""Build the method that a config names; the only module that knows all methods."""

import dataclasses
from typing import Any, NamedTuple

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.slice_profile import THIN, SliceProfile
from emgauss_jax.methods.axial_rows import Missing
from emgauss_jax.methods.base import Method
from emgauss_jax.methods.emformer import method as emformer
from emgauss_jax.methods.emformer.network import Sizes
from emgauss_jax.methods.emgauss import method as emgauss
from emgauss_jax.methods.emgauss.deformation import DEFORMATIONS
from emgauss_jax.methods.emgauss.density import DensityControl
from emgauss_jax.methods.emgauss.model import Settings
from emgauss_jax.methods.emgauss.schedule import Stages
from emgauss_jax.methods.linear import method as linear
from emgauss_jax.methods.niiv import method as niiv
from emgauss_jax.methods.siren import method as siren
from emgauss_jax.render.rasterize import RenderSettings


class AxialSampling(NamedTuple):
    """How a stack is sampled along z."""

    anisotropy: float = 2.0  # lateral px from slice to slice
    profile: SliceProfile = THIN  # of the slices
    missing: Missing = Missing()  # slices a block may lack


def build_emgauss(config: Any, sampling: AxialSampling) -> Method:
    """Build EMGauss from the `emgauss` section of a config.

    Args:
      config: mapping with the fields of `Settings`; nested dataclasses are sections.
      sampling: how the stack is sampled along z.
    """
    fields = dict(config)
    name = fields.pop("deformation")
    options = {key: dict(fields.pop(key)) for key in DEFORMATIONS if key in fields}
    if name not in DEFORMATIONS:
        raise InputError(f"emgauss.deformation: got {name!r}, wanted one of {list(DEFORMATIONS)}")
    if not sampling.profile.is_plane:
        fields["holdout_every"] = 0  # averaged slices leave no gap between them to blur
    settings = Settings(
        stages=Stages(**fields.pop("stages")),
        control=DensityControl(**fields.pop("control")),
        render=RenderSettings(**fields.pop("render")),
        profile=sampling.profile,
        **fields,
    )
    return emgauss.build(settings, DEFORMATIONS[name](**options.get(name, {})))


def build_niiv(config: Any, sampling: AxialSampling) -> Method:
    """Build niiv from the `niiv` section of a config, the fields of its `Settings`."""
    factor = max(2, round(sampling.anisotropy))  # of training pairs; the network fits any stack
    return niiv.build(niiv.Settings(factor, sampling.profile, sampling.missing, **config))


def build_emformer(config: Any, sampling: AxialSampling) -> Method:
    """Build EMformer from the `emformer` section of a config: its `Sizes` and `Settings`."""
    fields = dict(config)
    sizes = {each.name: fields.pop(each.name) for each in dataclasses.fields(Sizes)}
    sizes = Sizes(**sizes | {"window": tuple(sizes["window"])})
    settings = (sampling.anisotropy, sampling.profile, sampling.missing, sizes)
    return emformer.build(emformer.Settings(*settings, **fields))


def build_siren(config: Any, sampling: AxialSampling) -> Method:
    """Build SIREN from the `siren` section of a config, the fields of its `Settings`."""
    return siren.build(siren.Settings(sampling.anisotropy, sampling.profile, **config))


def build_linear(config: Any, sampling: AxialSampling) -> Method:
    """Build linear interpolation, which has no settings."""
    del config, sampling
    return linear.build()


def build_shared(asked_by: str, config: Any, sampling: AxialSampling) -> Method:
    """Build the method of another run's config, if its shared network serves any stack.

    Args:
      asked_by: the setting or flag that names the run, for the message.

    Raises:
      InputError: the method fits every volume anew.
    """
    method = build(config.method, config, sampling)
    if method.per_block:
        raise InputError(
            f"{asked_by}: got a workdir of {config.method}, which fits every volume anew, wanted "
            "a workdir of a shared network (niiv, emformer)"
        )
    return method


METHODS = {
    "emgauss": build_emgauss,
    "niiv": build_niiv,
    "emformer": build_emformer,
    "siren": build_siren,
    "linear": build_linear,
}


def build(name: str, config: Any, sampling: AxialSampling) -> Method:
    """Build the method a config names.

    Args:
      name: `config.method`.
      config: the whole config; the section named like the method holds its settings.
      sampling: how the stack is sampled along z.

    Raises:
      InputError: there is no such method, or a setting cannot work.
    """
    if name not in METHODS:
        raise InputError(f"method: got {name!r}, wanted one of {sorted(METHODS)}")
    if name not in config:
        raise InputError(
            f"method: got {name!r} in a config without a section {name}, wanted a config of {name}"
        )
    return METHODS[name](config[name], sampling)
