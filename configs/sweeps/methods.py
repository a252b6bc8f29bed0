r"""Every method of this project on one volume, beside the interpolations that cost nothing.

for volume in a b; do for factor in 5 8 10; do
python launch/sweep.py --config=configs/sweeps/methods.py --workdir=DIR/$volume$factor \
    --config.data.path=$volume.ome.tif --config.data.simulate_factor=$factor \
    --config.data.crop=0:$((128 / factor * factor + 1)),:,:
done; done

Each is fitted anew, the networks too; configs for a laptop, so that one can make the table.
"""

from collections.abc import Callable


def sweep(add: Callable[..., None]) -> None:
    """Add every row: a name, a file of configs/, and what it changes."""
    add("EMGauss", "emgauss.py")
    add("EMGauss without prior", "emgauss.py", {"prior.steps": 0, "prior.flow": False})
    add("niiv (tiny)", "niiv_tiny.py")
    add("EMformer (tiny)", "emformer_tiny.py")
    add("SIREN", "siren.py")
