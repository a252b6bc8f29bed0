"""What each part is worth: the rows of the paper's ablation table, and our own ideas, on and off.

python launch/sweep.py --config=configs/sweeps/ablation.py --workdir=DIR \
    --config.data.path=isotropic.tif --config.data.simulate_factor=8

`--rows=ours` or `--rows=paper` runs a part of it; flags of a config go to every row.
"""

from collections.abc import Callable


def sweep(add: Callable[..., None]) -> None:
    """Add every row: a name, a file of configs/, and what it changes."""
    paper = "emgauss_paper.py"
    add("paper/full", paper)
    add("paper/no teacher", paper, {"emgauss.stages.use_teacher": False, "train.ema_decay": 0.0})
    add("paper/no warm-up", paper, {"emgauss.stages.warmup": 0})
    add("paper/no joint stage", paper, {"emgauss.stages.joint": 0})
    add("paper/no delta o", paper, {"emgauss.deform_opacity": False})
    add("paper/with delta R", paper, {"emgauss.deform_rotation": True})

    ours = "emgauss.py"
    alone = {"prior.steps": 0, "prior.flow": False}
    add("ours/full", ours)
    add("ours/no flow", ours, {"prior.flow": False})
    add("ours/no network", ours, {"prior.steps": 0})
    add("ours/one knot a gap", ours, {"emgauss.label_knots": 1})
    add("ours/no moving average", ours, {"train.ema_decay": 0.0})
    add("ours/no prior", ours, alone)
    add("ours/no prior, no gap blur", ours, alone | {"emgauss.holdout_every": 0})
    add("ours/no prior, no teacher", ours, alone | {"emgauss.stages.use_teacher": False})
