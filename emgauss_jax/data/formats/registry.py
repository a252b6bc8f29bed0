"""All formats, a line each, and how one is found: by its name, by a suffix, by what a folder holds.

A new format is a module of this folder with one record of its own, imported and listed here.
"""

from emgauss_jax.data.formats import (
    hdf5,
    mrc,
    n5,
    npy,
    ome_zarr,
    precomputed,
    tiff,
)

# Where two have a suffix in common, or a folder holds contents of several, the first one is meant.
FORMATS = (
    tiff.FORMAT,
    ome_zarr.ZARR3,
    ome_zarr.ZARR2,
    precomputed.FORMAT,
    n5.FORMAT,
    hdf5.FORMAT,
    mrc.FORMAT,
    npy.FORMAT,
)

BY_NAME = {form.name: form for form in FORMATS}
BY_SUFFIX = {
    suffix: next(each for each in FORMATS if suffix in each.suffixes)
    for form in FORMATS
    for suffix in form.suffixes
}
BY_CONTENTS = {name: form for form in FORMATS for name in form.contents}
