"""From a config to a method: the one place that knows their names."""

import dataclasses
from typing import Any, NamedTuple

from emgauss_jax.methods.axial_rows import Missing
from emgauss_jax.methods.base import Method
from emgauss_jax.methods.emformer import method as emformer
from emgauss_jax.methods.emformer.network import Sizes
from emgauss_jax.methods.emgauss import method as emgauss
from emgauss_jax.methods.emgauss.deformation import DEFORMATIONS
from emgauss_jax.methods.emgauss.density import DensityControl
from emgauss_jax.methods.emgauss.model import Settings
from emgauss_jax.methods.emgauss.schedule import Stages
from emgauss_jax.methods.niiv import method as niiv
from emgauss_jax.methods.siren import method as siren
from emgauss_jax.render.rasterize import RenderSettings


class Sampled(NamedTuple):
    """How a stack's z differs from its y and x."""

    anisotropy: float = 2.0  # lateral px from slice to slice
    offsets: tuple[float, ...] = (0.0,)  # planes averaged in one slice, input-slice units
    missing: Missing = Missing()  # slices a block may lack

    @property
    def thick(self) -> bool:
        """Whether a slice is a mean of planes."""
        return len(self.offsets) > 1


def build_emgauss(config: Any, sampled: Sampled) -> Method:
    """Build EMGauss from the `emgauss` section of a config.

    Args:
      config: mapping with the fields of `Settings`, its parts as sections of their own.
      sampled: how z was.
    """
    fields = dict(config)
    name = fields.pop("deformation")
    options = {key: dict(fields.pop(key)) for key in DEFORMATIONS if key in fields}
    if name not in DEFORMATIONS:
        raise ValueError(f"emgauss.deformation: got {name!r}, wanted one of {list(DEFORMATIONS)}")
    if sampled.thick:
        fields["holdout_every"] = 0  # slices as thick as their distance leave no gap to blur
    settings = Settings(
        stages=Stages(**fields.pop("stages")),
        control=DensityControl(**fields.pop("control")),
        render=RenderSettings(**fields.pop("render")),
        offsets=sampled.offsets,
        **fields,
    )
    return emgauss.build(settings, DEFORMATIONS[name](**options.get(name, {})))


def build_niiv(config: Any, sampled: Sampled) -> Method:
    """Build niiv from the `niiv` section of a config, the fields of its `Settings`."""
    factor = max(2, round(sampled.anisotropy))  # of training pairs; to any stack it can be applied
    return niiv.build(niiv.Settings(factor, sampled.thick, sampled.missing, **config))


def build_emformer(config: Any, sampled: Sampled) -> Method:
    """Build EMformer from the `emformer` section of a config: its `Sizes` and `Settings`."""
    fields = dict(config)
    sizes = {each.name: fields.pop(each.name) for each in dataclasses.fields(Sizes)}
    sizes = Sizes(**sizes | {"window": tuple(sizes["window"])})
    settings = (sampled.anisotropy, sampled.thick, sampled.missing, sizes)
    return emformer.build(emformer.Settings(*settings, **fields))


def build_siren(config: Any, sampled: Sampled) -> Method:
    """Build SIREN from the `siren` section of a config, the fields of its `Settings`."""
    return siren.build(siren.Settings(sampled.anisotropy, sampled.offsets, **config))


METHODS = {
    "emgauss": build_emgauss,
    "niiv": build_niiv,
    "emformer": build_emformer,
    "siren": build_siren,
}


def build(name: str, config: Any, sampled: Sampled) -> Method:
    """Build the method a config names.

    Args:
      name: `config.method`.
      config: the whole config; the section of the method's own name is its settings.
      sampled: how z was.

    Raises:
      ValueError: no such method, or settings that cannot work.
    """
    if name not in METHODS:
        raise ValueError(f"method: got {name!r}, wanted one of {sorted(METHODS)}")
    if name not in config:
        raise ValueError(
            f"method: got {name!r} in a config without settings of it, wanted a config of {name}"
        )
    return METHODS[name](config[name], sampled)
