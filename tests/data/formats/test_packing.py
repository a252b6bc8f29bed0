"""Values that are stored packed are read as they are, and this is said."""

import json

import h5py
import numpy as np
import pytest
import tensorstore as ts

from emgauss_jax.data.volume import open_volume

ARRAY = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def _stored(path, attrs):
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", data=ARRAY).attrs.update(attrs)
        return path
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path)}, "create": True}
    ts.open(spec, shape=ARRAY.shape, dtype=ts.uint8).result()[:] = ARRAY
    (path / ".zattrs").write_text(json.dumps(attrs))
    return path


@pytest.mark.parametrize("name", ["v.h5", "v.zarr"])
@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"scale_factor": 1.0, "add_offset": 0}, ""),
        ({"scale_factor": 0.1}, "scale_factor 0.1 is"),
        ({"scale_factor": 1, "add_offset": [5]}, "add_offset 5 is"),
        ({"scale_factor": 0.1, "add_offset": 5.0}, "scale_factor 0.1 and add_offset 5 are"),
    ],
)
def test_packed_values_are_said(tmp_path, name, attrs, said):
    volume = open_volume(_stored(tmp_path / name, attrs), voxel_nm=(40, 8, 8))
    note = f"{said} not applied: stored values are read"
    assert volume.notes == ((note,) if said else ())
    np.testing.assert_array_equal(volume[:], ARRAY)
