"""Runs small enough for tests, volumes and command lines for them."""

import pathlib
import runpy
import sys

import jax

from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import create_volume
from emgauss_jax.methods import registry
from emgauss_jax.storage import network_file

ROOT = pathlib.Path(__file__).parents[1]

# For processes that need files alone: the package without its public names starts in a moment.
WITHOUT_JAX = f"""
import sys, types
package = sys.modules["emgauss_jax"] = types.ModuleType("emgauss_jax")
package.__path__ = [{str(ROOT / "emgauss_jax")!r}]
"""

SMALL = {
    "emgauss": {},
    "niiv": dict(features=4, blocks=1, width=8, layers=1, batch=2, columns=16),
    "emformer": dict(
        features=4,
        deep_features=4,
        scales=1,
        stage_blocks=2,
        groups=1,
        heads=1,
        window=(2, 2, 4),
        head_features=4,
        doublings=1,
        frames=2,
        rows=3,
        columns=12,
    ),
    "siren": dict(width=8, layers=2, points=32),
    "linear": {},
}


def default(name="emgauss"):
    """A config of configs/ as it stands."""
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]()


def tiny(name="emgauss", **changes):
    """A config of configs/ on a phantom of 17 x 32 x 28 voxels, for two steps and no prior."""
    config = default(name)
    config.data.path = "phantom"
    config.data.phantom_shape = (17, 32, 28)
    config.data.simulate_factor = 4
    config.train.steps = 2
    config[config.method].update(SMALL[config.method])
    if "prior" in config:
        config.prior.steps, config.prior.probe_steps, config.prior.flow = 0, 2, False
        config.lateral.update(features=4, blocks=1, batch=1)
    return _changed(config, changes)


def _changed(config, changes):
    """Set what a name such as train__steps names."""
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def write(path, values, voxel_nm=(10.0, 10.0, 10.0)):
    with create_volume(path, values.shape, values.dtype, voxel_nm) as writer:
        writer[:, :, :] = values
    return path


def command(name, *args):
    return [sys.executable, "-m", f"emgauss_jax.{name}", *args]


def emgauss(*args):
    """The command `emgauss` as pip installs it."""
    start = "from emgauss_jax.execution.command import dispatch; dispatch()"
    return [sys.executable, "-c", start, *args]


def make_stack(path, seed=0, shape=(6, 24, 28), voxel_nm=(40.0, 10.0, 10.0)):
    """Write slices of a phantom, four px apart."""
    return str(write(path, tissue(shape, seed), voxel_nm))


def tiny_niiv(path, *others, **changes):
    """A niiv that learns from real slices, fast enough to differ from its start."""
    config = _hasty(tiny("niiv_tiny", data__path=path, data__simulate_factor=0, niiv__rows=3))
    config.data.paths = others
    return _changed(config, changes)


def tiny_emformer(path, **changes):
    """Likewise an EMformer."""
    config = _hasty(tiny("emformer_tiny", data__path=path, data__simulate_factor=0))
    return _changed(config, changes)


def _hasty(config):
    """Let a network learn so much in four steps that it is to be seen in uint8."""
    config.train.update(steps=4, steps_per_dispatch=2, ema_decay=0.0)
    config.optimizer.rates.update(dict.fromkeys(config.optimizer.rates, (0.05, 1.0)))
    return config


def fake_network(workdir, config):
    """Leave a niiv in a workdir that has learned nothing."""
    method = registry.build("niiv", config, registry.AxialSampling())
    learned = network_file.Learned(4, 1, 1, 1, (6, 24, 28))
    network_file.write(workdir, method.init(jax.random.key(0), None), learned, config)


def stirred(params, size=0.2):
    """Move every learned value a little, so that nothing is zero by chance."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    moved = [a + size * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)
