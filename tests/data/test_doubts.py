"""What speaks against an input: sizes that can hardly be meant, chunks that are not there."""

import types

import numpy as np
import pytest

from emgauss_jax.data.doubts import (
    count_absent,
    doubt_of_chunks,
    doubts_of_size,
    refuse_size_of_ones,
    size_of_ones,
)

ROUNDED = float(np.float32(0.1))


def volume(voxel_nm=(40.0, 8.0, 8.0), given=False, absent=(0, 0)):
    return types.SimpleNamespace(
        path="a.tif", voxel_nm=voxel_nm, voxel_given=given, absent_chunks=lambda box: absent
    )


@pytest.mark.parametrize(
    ("nm", "unit"),
    [
        (1.0, "nanometer"), (1e3, "micrometer"), (0.1, "angstrom"), (1e6, "millimeter"),
        (ROUNDED, "angstrom"), (1e7, "centimeter"), (1e9, "meter"), (2.54e7, "inch"),
    ],
)  # fmt: skip
def test_a_size_of_ones_is_no_size_unless_the_user_gives_it(nm, unit):
    assert size_of_ones(volume((nm,) * 3)) == f"1 x 1 x 1 {unit}"
    match = rf"a\.tif: voxel size: got 1 x 1 x 1 {unit}, which .*data\.voxel_nm=z,y,x"
    with pytest.raises(ValueError, match=match):
        refuse_size_of_ones(volume((nm,) * 3))
    refuse_size_of_ones(volume((nm,) * 3, given=True))


@pytest.mark.parametrize(
    "voxel_nm", [(8.0,) * 3, (1.0, 1.0, 2.0), (40.0, 1.0, 1.0), (1000.0, 1.0, 1.0), (10.0,) * 3]
)
def test_other_sizes_are_sizes(voxel_nm):
    assert size_of_ones(volume(voxel_nm)) == ""
    refuse_size_of_ones(volume(voxel_nm))


@pytest.mark.parametrize(
    ("voxel_nm", "found"),
    [
        ((40.0, 8.0, 8.0), []),
        ((12.0, 8.0, 8.0), []),  # 1.5 px
        ((400.0, 8.0, 8.0), []),  # 50 px
        ((5 * ROUNDED, ROUNDED, ROUNDED), []),
        ((11.9, 8.0, 8.0), ["slices lie 1.4875 px (11.9 nm, px of 8 nm) apart"]),
        ((8.0, 8.0, 8.0), ["slices lie 1 px"]),
        ((408.0, 8.0, 8.0), ["slices lie 51 px"]),
        ((0.4, 0.08, 0.08), ["voxels of 0.4 x 0.08 x 0.08 nm"]),
        ((0.4, 0.1, 0.09), ["voxels of 0.4 x 0.1 x 0.09 nm"]),
        ((1.1e6, 1e5, 1e5), ["voxels of 1.1e+06 x 100000 x 100000 nm"]),
        ((40.0, 8e-3, 8e-3), ["slices lie 5000 px", "voxels of 40 x 0.008"]),
    ],
)
def test_unusual_lengths_are_doubted(voxel_nm, found):
    doubts = doubts_of_size(voxel_nm)
    assert len(doubts) == len(found)
    for doubt, start in zip(doubts, found, strict=True):
        assert doubt.startswith(start) and "--config.data.voxel_nm=z,y,x" in doubt


def test_absent_chunks_are_counted_and_refused_where_all_are_absent_or_required():
    assert count_absent(volume(), ()) == (0, 0) and doubt_of_chunks((0, 0)) == []
    assert count_absent(volume(absent=(0, 64)), (), True) == (0, 64)
    assert count_absent(volume(absent=(3, 64)), ()) == (3, 64)
    (doubt,) = doubt_of_chunks((3, 64))
    assert doubt == (
        "absent chunks: 3 of 64 are not stored: their voxels are the fill value, 0 in most files"
    )
    with pytest.raises(ValueError, match=r"a\.tif: chunks: got 3 of 64 absent, wanted every one"):
        count_absent(volume(absent=(3, 64)), (), True)
    for required in (False, True):
        with pytest.raises(ValueError, match="chunks: got all of 64 absent"):
            count_absent(volume(absent=(64, 64)), (), required)
