"""niiv with its published encoder: one network for any stack similar to its training stacks.

python -m emgauss_jax.train --config=configs/niiv.py --workdir=DIR --config.data.path=STACK \
    [--config.data.paths="('OTHER_STACK',)"]
python -m emgauss_jax.reconstruct --workdir=DIR --input=UNSEEN_STACK --output=PATH

Made for a GPU; configs/niiv_tiny.py is for a laptop.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """Return the config."""
    config = config_dict.ConfigDict()
    config.method = "niiv"
    config.seed = 0
    config.keep_observed = False  # True: observed slices enter the output as they are

    config.data = config_dict.ConfigDict()
    config.data.path = ""  # stack to train on and reconstruct
    config.data.paths = ()  # more stacks to train on; settings below apply, not crop and missing
    config.data.dataset = ""  # array inside a container (HDF5, zarr, N5)
    config.data.voxel_nm = (0.0, 0.0, 0.0)  # z, y, x; needed only where the file has none
    config.data.series = -1  # of a TIFF of several images, counted from 0; -1: the only one
    config.data.require_all_chunks = False  # True: chunks that are not there are an error
    config.data.z_nm = ""  # depths of unevenly spaced slices, "0,45,101.5", or a file of them
    config.data.crop = ""  # z0:z1,y0:y1,x0:x1
    config.data.simulate_factor = 0  # k: keep every k-th slice, hold the rest out
    config.data.degradation = "subsample"  # or "average": a slice is the mean of k planes
    config.data.missing = ()  # damaged slices, counted from 0 after crop and simulation
    config.data.phantom_shape = (97, 96, 96)  # planes, px, px; for data.path=phantom
    config.data.phantom_seed = 0

    config.output = config_dict.ConfigDict()
    config.output.chunk = (64, 64, 64)  # voxels (z, y, x) of a stored chunk, where there are chunks
    config.output.shard = (0, 0, 0)  # voxels of a file of several chunks, zarr 3 alone; 0: none

    config.block = config_dict.ConfigDict()
    config.block.max_size = (64, 144, 144)  # slices, px, px
    config.block.overlap = (4, 16, 16)
    config.block.region = (1, 4, 4)  # blocks held in memory together

    config.train = config_dict.ConfigDict()
    config.train.steps = 100_000
    config.train.ema_decay = 0.999  # of the moving average of the network, which is the one used
    config.train.steps_per_dispatch = 100
    config.train.checkpoint_every = 1_000
    config.train.blocks_per_chunk = 0
    config.train.memory_gb = 0.0

    config.niiv = config_dict.ConfigDict()
    config.niiv.features = 64  # of the latent grid
    config.niiv.blocks = 16  # of two convolutions, in the encoder
    config.niiv.width = 256  # of the decoder
    config.niiv.layers = 5
    config.niiv.batch = 16  # training images per step
    config.niiv.rows = 13  # observed rows of a training image
    config.niiv.columns = 64  # px of a training image
    config.niiv.queries = 24  # rows decoded of each training image

    config.optimizer = config_dict.ConfigDict()
    # (learning rate, its fraction left at the end)
    config.optimizer.rates = dict(encoder=(5e-4, 0.1), decoder=(5e-4, 0.1))
    config.optimizer.start = dict()
    return config
