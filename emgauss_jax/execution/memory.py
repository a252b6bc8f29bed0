"""How much memory a process will take: a linear model, measured on a CPU.

`python -m tests.benchmarks.scale` measures it.
"""

import math

from emgauss_jax.data.formats.pyramid import whole_files
from emgauss_jax.data.stack import whole_factor
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.writing import TILE

PROCESS_GIB = 0.8  # JAX, compiled programs, decoded chunks
BYTES_OF_SLICES = 40  # for each voxel of a region's slices
BYTES_OF_PLANES = 55  # for each voxel that pseudo-labels fill in
BYTES_OF_TILE = 30  # for each voxel of the output that is drawn at once
BYTES_OF_BLOCKS = 12  # for each voxel that a network learns from: read, put together, on a device


def estimate(run: Run) -> str:
    """Say how much work there is, and how much memory a process will take.

    What a process holds is a region: its slices, the blocks cut out of them, and the
    pseudo-labels, if any, that fill in the planes between.
    """
    fitting = fitting_of(run.template.method)
    shape = max((region.bounds.shape for region in run.regions), key=math.prod)
    voxels = math.prod(shape)
    planes = voxels * whole_factor(run.observed) if run.label_template else 0
    _, height, width = run.observed.shape
    output = run.config.output
    edges = whole_files(TILE, output.shard if any(output.shard) else output.chunk)
    tile = fitting.planes_at_once * min(height, edges[1]) * min(width, edges[2])
    size = BYTES_OF_SLICES * voxels + BYTES_OF_PLANES * planes + BYTES_OF_TILE * tile
    size += BYTES_OF_BLOCKS * fitting.blocks_held * math.prod(run.grid.size)
    return (
        f"blocks: {run.grid.count}, regions: {len(run.regions)}, of {' x '.join(map(str, shape))} "
        f"(slices, px) at most; a process takes about {PROCESS_GIB + size / 2**30:.1f} GiB"
    )
