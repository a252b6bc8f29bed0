"""EMGauss as published: alpha blending, rotation, an MLP of 8 x 256, 18k iterations.

python -m emgauss_jax.train --config=configs/emgauss_paper.py --workdir=DIR \
    --config.data.path=STACK

Made for a GPU. With fewer `train.steps` the three stages keep their proportions.
The rows of the ablation table, each one value:
  no teacher      --config.emgauss.stages.use_teacher=False  (no pseudo-labels; what is rendered
                  is still the moving average, unless --config.train.ema_decay=0)
  no warm-up      --config.emgauss.stages.warmup=0
  no joint stage  --config.emgauss.stages.joint=0
  no delta o      --config.emgauss.deform_opacity=False
  with delta R    --config.emgauss.deform_rotation=True
"""

import pathlib
import runpy

from ml_collections import config_dict

DEFAULT = pathlib.Path(__file__).with_name("emgauss.py")


def get_config() -> config_dict.ConfigDict:
    """Return the paper's config; what it does not give is the default's."""
    config = runpy.run_path(str(DEFAULT))["get_config"]()
    config.train.steps = 18_000
    steps = config.train.get_oneway_ref("steps")

    config.prior.steps, config.prior.flow = 0, False
    config.emgauss.deformation = "mlp"
    config.emgauss.mlp.fields = ("means", "log_scales", "angles", "opacity_logits")
    config.emgauss.spline.fields = ("opacity_logits",)
    config.emgauss.rotation = True
    config.emgauss.render.blend = "alpha"
    config.emgauss.render.backend = "tiled"
    config.emgauss.min_scale = 0.3  # px; the low-pass filter of 3DGS
    config.emgauss.gaussians_per_px = 0.5  # the cap: the paper gives no number
    config.emgauss.alive_fraction = 0.5
    config.emgauss.planes_per_step = 1
    config.emgauss.holdout_every = 0
    config.emgauss.depth_noise = 0.1
    config.emgauss.stages.warmup = steps * 2 // 18
    config.emgauss.stages.joint = steps * 1 // 18
    config.emgauss.stages.ramp_end = steps * 10 // 18
    config.emgauss.control.every = 100
    config.emgauss.depth_noise_end = steps * 20 // 18
    config.emgauss.control.start = steps // 36
    config.emgauss.control.stop = steps * 15 // 18

    # px; Deformable 3D Gaussians' 8e-4 is in units of half a field of view, here of 128 px
    config.optimizer.rates = dict(
        canonical=dict(
            means=(0.05, 0.01),
            log_scales=(5e-3, 1.0),
            angles=(1e-3, 1.0),
            opacity_logits=(0.05, 1.0),
            intensities=(2.5e-3, 1.0),
        ),
        deformation=(8e-4, 2e-3),
    )
    return config
