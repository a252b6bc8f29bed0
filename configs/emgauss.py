"""The default: EMGauss with an order-free sum and per-Gaussian splines.

python -m emgauss_jax.train --config=configs/emgauss.py --workdir=DIR --config.data.path=STACK
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """Return the default config."""
    config = config_dict.ConfigDict()
    config.method = "emgauss"
    config.seed = 0
    config.keep_observed = False  # True: observed slices enter the output as they are

    config.data = config_dict.ConfigDict()
    config.data.path = ""
    config.data.dataset = ""  # array inside a container (HDF5, zarr, N5)
    config.data.voxel_nm = (0.0, 0.0, 0.0)  # z, y, x; needed only where the file has none
    config.data.series = -1  # of a TIFF of several images, counted from 0; -1: the only one
    config.data.require_all_chunks = False  # True: chunks that are not there are an error
    config.data.z_nm = ""  # depths of unevenly spaced slices, "0,45,101.5", or a file of them
    config.data.crop = ""  # z0:z1,y0:y1,x0:x1
    config.data.simulate_factor = 0  # k: keep every k-th slice, hold the rest out
    config.data.degradation = "subsample"  # or "average"
    config.data.missing = ()  # damaged slices, counted from 0 after crop and simulation
    config.data.phantom_shape = (97, 96, 96)  # of data.path=phantom
    config.data.phantom_seed = 0

    config.output = config_dict.ConfigDict()
    config.output.chunk = (64, 64, 64)  # voxels (z, y, x) of a stored chunk, where there are chunks
    config.output.shard = (0, 0, 0)  # voxels of a file of several chunks, zarr 3 alone; 0: none

    config.block = config_dict.ConfigDict()
    config.block.max_size = (26, 144, 144)  # slices, px, px; of more, the steps are too few
    config.block.overlap = (4, 16, 16)
    config.block.region = (3, 4, 4)  # blocks held in memory together, with a prior of their own

    config.train = config_dict.ConfigDict()
    config.train.steps = 4_000
    config.train.ema_decay = 0.995  # of the teacher; 0: it is the student
    config.train.steps_per_dispatch = 100
    config.train.checkpoint_every = 500
    config.train.blocks_per_chunk = (
        0  # at once on each device; 0: what memory holds, on a CPU 4 at most
    )
    config.train.memory_gb = 0.0  # of each device; 0: what it has

    config.prior = config_dict.ConfigDict()
    config.prior.flow = True  # interpolation along the flow from slice to slice is asked
    config.prior.steps = 5_000  # of the network; 0: it is not asked
    config.prior.probe_steps = 500  # more, at half the resolution, to learn how far to believe it
    config.prior.network = ""  # workdir of a niiv or EMformer of other stacks that is asked too
    config.prior.ema_decay = 0.995  # of the network that is used
    config.prior.rate = (1e-3, 0.1)  # learning rate, its fraction left at the end
    config.lateral = dict(features=32, blocks=6, batch=4, rows=13, columns=64)

    config.emgauss = config_dict.ConfigDict()
    config.emgauss.gaussians_per_px = 0.25
    config.emgauss.min_scale = 0.5  # px
    config.emgauss.initial_scale = 0.6
    config.emgauss.alive_fraction = 1.0
    config.emgauss.rotation = False
    config.emgauss.deform_opacity = True
    config.emgauss.deform_rotation = False
    config.emgauss.ssim_weight = 0.2
    config.emgauss.holdout_every = 4
    config.emgauss.planes_per_step = 1
    config.emgauss.label_knots = 4
    config.emgauss.depth_noise = 0.0
    config.emgauss.depth_noise_end = 20_000
    config.emgauss.deformation = "spline"  # or "mlp"
    config.emgauss.spline = dict(fields=("amplitudes",))  # what changes with depth
    config.emgauss.mlp = dict(
        layers=8, width=256, octaves=10, fields=("means", "log_scales", "angles", "amplitudes")
    )
    config.emgauss.render = dict(blend="sum", backend="binned", cutoff=3.5, capacity=512)
    steps = config.train.get_oneway_ref("steps")
    config.emgauss.stages = config_dict.ConfigDict()
    config.emgauss.stages.warmup = steps // 20
    config.emgauss.stages.joint = steps // 4
    config.emgauss.stages.ramp_end = steps // 2
    config.emgauss.stages.weight_first = 0.1
    config.emgauss.stages.weight_last = 1.0
    config.emgauss.stages.use_teacher = True
    config.emgauss.control = dict(
        every=0, start=500, stop=15_000, prune=0.005, growth=0.05, jitter=0.5
    )

    config.optimizer = config_dict.ConfigDict()
    # (learning rate, its fraction left at the end); what is not named is frozen
    config.optimizer.rates = dict(
        canonical=dict(means=(0.02, 0.05), log_scales=(5e-3, 0.05), amplitudes=(0.01, 0.05)),
        deformation=dict(amplitudes=(0.02, 0.05)),
        gap_blur=(0.02, 0.05),
    )
    config.optimizer.start = dict(deformation=config.emgauss.stages.get_oneway_ref("warmup"))
    return config
