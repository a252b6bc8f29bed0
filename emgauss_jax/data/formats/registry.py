"""All formats, and tables that find a format by its name, its suffix, or the files in a folder.

A new format is a module of this folder that exports one `Format`; it is imported and listed here.
"""

from emgauss_jax.data.formats import (
    hdf5,
    images,
    mrc,
    n5,
    nifti,
    npy,
    ome_zarr,
    precomputed,
    tiff,
)

# If two formats share a suffix, or a folder holds files of several, the first in this list is used.
FORMATS = (
    tiff.FORMAT,
    images.FORMAT,
    ome_zarr.ZARR3,
    ome_zarr.ZARR2,
    precomputed.FORMAT,
    n5.FORMAT,
    nifti.FORMAT,
    hdf5.FORMAT,
    mrc.FORMAT,
    npy.FORMAT,
)

BY_NAME = {form.name: form for form in FORMATS}
BY_SUFFIX = {
    suffix: next(each for each in FORMATS if suffix in each.suffixes + each.read_suffixes)
    for form in FORMATS
    for suffix in form.suffixes + form.read_suffixes
}
BY_CONTENTS = {name: form for form in FORMATS for name in form.contents}
BY_MEMBER = {suffix: form for form in FORMATS for suffix in form.members}
