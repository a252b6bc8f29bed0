"""All formats, a line each, and how one is found: by its name, by a suffix, by what a folder holds.

A new format is a module of this folder with one record of its own, imported and listed here.
"""

from emgauss_jax.data.formats import hdf5, mrc, n5, npy, ome_zarr, precomputed, tiff

FORMATS = (
    tiff.FORMAT,
    ome_zarr.ZARR2,
    ome_zarr.ZARR3,
    n5.FORMAT,
    precomputed.FORMAT,
    hdf5.FORMAT,
    mrc.FORMAT,
    npy.FORMAT,
)

BY_NAME = {form.name: form for form in FORMATS}
# two formats may share a suffix: the later one is meant where no format is named
BY_SUFFIX = {suffix: form for form in FORMATS for suffix in form.suffixes}
# in the order in which a folder is searched
BY_CONTENTS = {
    name: form
    for form in sorted(FORMATS, key=lambda form: form.precedence, reverse=True)
    for name in form.contents
}
