"""Every format of the registry: what is written is read again, with its dtype, size and place."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.formats.registry import FORMATS
from emgauss_jax.data.volume import create_volume, open_volume

WRITTEN = [form for form in FORMATS if form.create]
# They do not store where a volume lies.
PLACELESS = {"npy"}
# They store it in whole voxels of their corner.
WHOLE_VOXELS = {"precomputed"}

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70))
# not so small that a volume has many files
CHUNKS = st.tuples(st.integers(3, 12), st.integers(20, 80), st.integers(20, 80))
FILES = st.tuples(*[st.integers(1, 3)] * 3)  # chunks along the edges of a shard
# sizes are those of real volumes: a quarter of a nm apart, so that no format's own decimals matter
SIZES = st.tuples(*[st.integers(2, 400).map(lambda quarters: quarters / 4)] * 3)
CENTRES = st.tuples(*[st.integers(-400_000, 400_000).map(lambda quarters: quarters / 4)] * 3)


@st.composite
def volumes(draw, dtypes):
    """An array (any memory and byte order), a voxel size, a place, and cuts into boxes to write."""
    shape, dtype = draw(SHAPES), np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # any bits: whatever an integer can be; of floats, those that are finite
    bits = np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)
    array = np.where(np.isfinite(bits), bits, np.zeros((), dtype))
    array = array.astype(dtype.newbyteorder(draw(st.sampled_from("<>"))))
    array = array.copy(order=draw(st.sampled_from("CF")))
    cuts = [sorted({0, draw(st.integers(0, n)), draw(st.integers(0, n)), n}) for n in shape]
    return array, draw(SIZES), Place(draw(CENTRES)), cuts


def _boxes(cuts):
    parts = [[slice(*pair) for pair in itertools.pairwise(each)] for each in cuts]
    return [(z, y, x) for z in parts[0] for y in parts[1] for x in parts[2]]


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_round_trip(form):
    # a plain .tif is ImageJ's, which knows three dtypes only
    suffix = ".ome.tif" if form.name == "tiff" else form.suffixes[0]

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(volumes(form.dtypes), CHUNKS, FILES)
    def check(drawn, chunk, files):
        array, voxel, place, cuts = drawn
        native = array.dtype.newbyteorder("=")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"v{suffix}"
            asked = {"format": form.name, "place": place, "chunk": chunk}
            if form.has_shards:
                asked["shard"] = tuple(a * b for a, b in zip(chunk, files, strict=True))
            with create_volume(path, array.shape, array.dtype, voxel, **asked) as writer:
                for box in reversed(_boxes(cuts)):
                    writer[box] = array[box].astype(native)
            volume = open_volume(path, voxel_nm=voxel if form.name == "npy" else None)
            # an NPY is read as what its output can store, which is a TIFF
            widened = form.name == "npy" and native.name == "float16"
            assert volume.dtype == (np.float32 if widened else native)
            assert volume.shape == array.shape
            np.testing.assert_array_equal(volume[:], array)
            assert volume.absent_chunks(np.s_[:])[0] == 0
            np.testing.assert_allclose(volume.voxel_nm, voxel, rtol=1e-6)
            if form.name not in PLACELESS:
                far = np.abs(np.subtract(volume.place.centre_nm, place.centre_nm))
                near = np.divide(voxel, 2) if form.name in WHOLE_VOXELS else 0.0
                # 2^-24 of 100,000 nm are what float32 leaves of a place in MRC and NIfTI
                assert (far <= near + 0.006).all()
                np.testing.assert_allclose(volume.place.axes, place.axes, atol=1e-6)
            del volume  # it may map the file, which Windows then does not remove

    check()
