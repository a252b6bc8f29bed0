"""A file is open as long as its volume is referred to: thousands of them leave none behind."""

import gc
import os
import pathlib

import numpy as np
import pytest

from emgauss_jax.data.volume import create_volume, open_volume
from tests.data.test_volume import NAMES

FILES, MAPS = pathlib.Path("/proc/self/fd"), pathlib.Path("/proc/self/maps")
pytestmark = pytest.mark.skipif(not FILES.exists(), reason="the system does not list open files")


def held(path):
    """List the open and the mapped files of a volume, and count all that are open."""
    links = [os.readlink(each) for each in FILES.iterdir() if each.is_symlink()]
    mapped = [line for line in MAPS.read_text().splitlines() if str(path) in line]
    return [link for link in links if str(path) in link], mapped, len(links)


@pytest.mark.parametrize("name", NAMES)
def test_no_file_of_a_volume_that_is_gone_is_open(tmp_path, name):
    path = tmp_path / name
    values = np.arange(6 * 20 * 24, dtype=np.uint8).reshape(6, 20, 24)
    with create_volume(path, values.shape, values.dtype, (40.0, 10.0, 10.0)) as writer:
        writer[:, :, :] = values
    for _ in range(5):  # libraries are loaded, threads and pools started
        open_volume(path, voxel_nm=(40.0, 10.0, 10.0))[:, :, :]
    gc.collect()
    before = held(path)[2]
    gc.disable()  # nothing waits for the collector
    try:
        for _ in range(20):
            volume = open_volume(path, voxel_nm=(40.0, 10.0, 10.0))
            np.testing.assert_array_equal(volume[:, :, :], values)
            volume.absent_chunks(slice(0, 3))
        del volume
        after = held(path)
    finally:
        gc.enable()
    assert after[:2] == ([], []) and after[2] <= before
