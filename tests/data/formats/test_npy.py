"""NPY: what is no array of grey levels, and every dtype that is."""

import numpy as np
import pytest

from emgauss_jax.data.formats.interface import DTYPES
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 4.5, 5.25)


@pytest.mark.parametrize("dtype", [object, "u1,f4", "U3"])
def test_dtypes_that_are_none(tmp_path, dtype):
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 4), dtype), allow_pickle=True)
    with pytest.raises(ValueError, match=r"v.npy: dtype: got .*, wanted one of int8, uint8"):
        open_volume(tmp_path / "v.npy", voxel_nm=VOXEL)


def test_an_archive(tmp_path):
    np.savez(tmp_path / "v.npz", np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"v.npz: got an archive of arrays, wanted one array"):
        open_volume(tmp_path / "v.npz", voxel_nm=VOXEL)
    with pytest.raises(ValueError, match=r"got .npz, which is only read, wanted .npy"):
        create_volume(tmp_path / "w.npz", (2, 3, 4), "uint8", VOXEL)


@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
@pytest.mark.parametrize("name", ["v.npy", "v.h5"])
def test_dtypes(tmp_path, name, dtype):
    """What is read and written again has the voxels and dtype that it had; bool is 0 and 255."""
    least = 0 if dtype.startswith(("u", "b")) else -3
    array = np.arange(least, least + 24).reshape(2, 3, 4).astype(dtype)
    np.save(tmp_path / "in.npy", array)
    volume = open_volume(tmp_path / "in.npy", voxel_nm=VOXEL)
    with create_volume(tmp_path / name, volume.shape, volume.dtype, VOXEL) as writer:
        writer[:] = volume[:]
    again = open_volume(tmp_path / name, voxel_nm=VOXEL)
    expected = array.astype(np.uint8) * 255 if dtype == "bool" else array
    np.testing.assert_array_equal(again[:], expected)
    assert again.dtype == volume.dtype
