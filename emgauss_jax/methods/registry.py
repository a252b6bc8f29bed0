"""From a config to a method: the one place that knows their names."""

from typing import Any

from emgauss_jax.methods.base import Method
from emgauss_jax.methods.emgauss import method as emgauss
from emgauss_jax.methods.emgauss.cloud import Settings
from emgauss_jax.methods.emgauss.deformation import DEFORMATIONS
from emgauss_jax.methods.emgauss.density import DensityControl
from emgauss_jax.methods.emgauss.teacher import Stages
from emgauss_jax.render.rasterize import RenderSettings


def build_emgauss(config: Any, offsets: tuple[float, ...]) -> Method:
    """Build EMGauss from the `emgauss` section of a config.

    Args:
      config: mapping with the fields of `Settings`, its parts as sections of their own.
      offsets: planes averaged in one observed slice, input-slice units.
    """
    fields = dict(config)
    name = fields.pop("deformation")
    options = {key: dict(fields.pop(key)) for key in DEFORMATIONS if key in fields}
    if name not in DEFORMATIONS:
        raise ValueError(f"emgauss.deformation: got {name!r}, wanted one of {list(DEFORMATIONS)}")
    if len(offsets) > 1:
        fields["holdout_every"] = 0  # slices as thick as their distance leave no gap to blur
    settings = Settings(
        stages=Stages(**fields.pop("stages")),
        control=DensityControl(**fields.pop("control")),
        render=RenderSettings(**fields.pop("render")),
        offsets=offsets,
        **fields,
    )
    return emgauss.build(settings, DEFORMATIONS[name](**options.get(name, {})))


METHODS = {"emgauss": build_emgauss}


def build(name: str, config: Any, offsets: tuple[float, ...] = (0.0,)) -> Method:
    """Build the method a config names.

    Args:
      name: `config.method`.
      config: the whole config; the section of the method's own name is its settings.
      offsets: planes averaged in one observed slice, input-slice units.

    Raises:
      ValueError: no such method, or settings that cannot work.
    """
    if name not in METHODS:
        raise ValueError(f"method: got {name!r}, wanted one of {sorted(METHODS)}")
    return METHODS[name](config[name], offsets)
