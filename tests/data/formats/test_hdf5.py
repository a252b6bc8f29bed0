"""HDF5: names of axes, sizes and place, chunks that are not there, links and filters."""

import json

import h5py
import numpy as np
import pytest

from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 4.5, 5.25)  # nm, z y x
ARRAY = (np.arange(5 * 7 * 9) * 200).astype(np.uint16).reshape(5, 7, 9)
FLAG = r"--config.data.voxel_nm=z,y,x"


def _h5(path, array=ARRAY, attrs=(), labels="", name="volumes/raw"):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(name, data=array)
        dataset.attrs.update(dict(attrs))
        for dimension, label in zip(dataset.dims, labels, strict=False):
            dimension.label = label
    return path


def _tags(keys, resolution=None):
    axes = [{"key": key, "typeFlags": 2, "description": ""} for key in keys]
    for axis, size in zip(axes, resolution or (), strict=False):
        axis["resolution"] = size
    return {"axistags": json.dumps({"axes": axes})}


def _scales(path, array, names):
    """Name the axes as netCDF does, by dimension scales."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("volumes/raw", data=array)
        for dimension, name, length in zip(dataset.dims, names, array.shape, strict=True):
            file.create_dataset(name, data=np.arange(length)).make_scale(name)
            dimension.attach_scale(file[name])
    return path


def _named(path, array, names, way):
    if way == "scales":
        return _scales(path, array, names)
    values = {"text": names, "list": list(names), "words": ", ".join(names).upper()}
    attrs = {"axistags": _tags(names), "labels": {}}.get(way) or {"axes": values.get(way, names)}
    return _h5(path, array, {} if way == "labels" else attrs, names if way == "labels" else "")


@pytest.mark.parametrize("way", ["axistags", "labels", "scales", "text", "list", "words"])
@pytest.mark.parametrize("names", ["zyx", "xyz", "yxz", "czyx", "xyzc", "tzyxc"])
def test_names_of_axes(tmp_path, names, way):
    full = ARRAY[..., None, None]  # z y x c t
    array = full.transpose(["zyxct".index(name) for name in names] + [
        axis for axis, name in enumerate("zyxct") if name not in names
    ]).reshape([dict(zip("zyxct", full.shape, strict=True))[name] for name in names])  # fmt: skip
    volume = open_volume(_named(tmp_path / "v.h5", array, names, way), voxel_nm=VOXEL)
    assert volume.shape == ARRAY.shape and volume.notes == ()
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], ARRAY[1:4, 2:6, 3:9])


@pytest.mark.parametrize("names", ["tyx", "yxt", "cyx", "tcyx"])
def test_a_series_is_read_as_a_stack(tmp_path, names):
    """The one long axis beside y and x is the stack's."""
    lengths = {"t": 5, "c": 5 if "t" not in names else 1, "y": 7, "x": 9}
    stack = "t" if "t" in names else "c"
    shape = [lengths[name] for name in names]
    order = ["zyx".index({stack: "z"}.get(name, name)) for name in names if lengths[name] > 1]
    path = _h5(tmp_path / "v.h5", ARRAY.transpose(order).reshape(shape), _tags(names))
    volume = open_volume(path, voxel_nm=VOXEL)
    assert volume.notes == (f"axis {stack} is taken for z",)
    np.testing.assert_array_equal(volume[:], ARRAY)


@pytest.mark.parametrize(
    ("attrs", "labels", "words"),
    [
        (_tags("xyz"), "zyx", "x, y, z in axistags but z, y, x in dimension labels"),
        ({"axes": "zyx", "axis_names": list("xyz")}, "", "wanted one order"),
        (_tags("zyxc"), "", r"z, y, x, c \(axistags\) for shape \(5, 7, 9\)"),
        (_tags("zzx"), "", "wanted z, y and x, once each"),
        (_tags("xab"), "", "wanted z, y and x, once each"),
        ({"axistags": "no json"}, "", "axistags: got 'no json', wanted JSON"),
    ],
)
def test_axes_that_contradict(tmp_path, attrs, labels, words):
    path = _h5(tmp_path / "v.h5", ARRAY, attrs, labels)
    with pytest.raises(ValueError, match=words):
        open_volume(path, voxel_nm=VOXEL)


def test_names_that_agree_or_say_nothing(tmp_path):
    agreed = _h5(tmp_path / "a.h5", ARRAY.T, {**_tags("xyz"), "axes": "XYZ"}, "xyz")
    np.testing.assert_array_equal(open_volume(agreed, voxel_nm=VOXEL)[:], ARRAY)
    silent = _scales(tmp_path / "s.h5", ARRAY, ["phony_dim_0", "phony_dim_1", "phony_dim_2"])
    np.testing.assert_array_equal(
        open_volume(silent, dataset="volumes/raw", voxel_nm=VOXEL)[:], ARRAY
    )


@pytest.mark.parametrize("way", ["labels", "scales", "list"])
@pytest.mark.parametrize("names", [("Width", "height", "depth"), ("cols", "rows", "slices")])
def test_words_for_axes(tmp_path, names, way):
    path = _named(tmp_path / "v.h5", ARRAY.T, names, way)
    volume = open_volume(path, dataset="volumes/raw", voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)


def test_words_that_say_nothing_are_said(tmp_path):
    path = _named(tmp_path / "v.h5", ARRAY, ("a1", "b1", "b2"), "list")
    volume = open_volume(path, voxel_nm=VOXEL)
    assert volume.notes == (
        "the axes are named a1, b1, b2: they are taken as z, y, x in stored order",
    )
    np.testing.assert_array_equal(volume[:], ARRAY)


RES = {"resolution": (5.25, 4.5, 40.0)}  # of an array with axes x, y, z
UM = (0.04, 0.0045, 0.00525)


@pytest.mark.parametrize(
    "attrs",
    [
        RES,
        {"voxel_size": RES["resolution"]},
        {"resolution": UM[::-1], "units": ["um"] * 3},
        {"resolution": UM[::-1], "unit": b"um"},
        {"resolution": (5.25e-3, 4.5, 40.0), "units": np.array([b"um", b"nm", b""])},
        {"element_size_um": UM},
        {**RES, "element_size_um": UM},
        {**RES, "element_size_um": (0.0399, 0.00452, 0.00524)},  # rounded: under 1 %
    ],
    ids=str,
)
def test_sizes_of_a_turned_array(tmp_path, attrs):
    volume = open_volume(_h5(tmp_path / "v.h5", ARRAY.T, attrs, "xyz"))
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert volume.shape == ARRAY.shape


def test_three_values_for_four_axes_are_those_of_space(tmp_path):
    attrs = {**RES, "offset": (5.25, 9, 120)}
    volume = open_volume(_h5(tmp_path / "v.h5", ARRAY.T[:, None], attrs, "xcyz"))
    assert volume.voxel_nm == VOXEL
    assert volume.place.centre_nm == pytest.approx((140, 11.25, 7.875))


@pytest.mark.parametrize("stored", [(0.04, 0.008, 0.008), (0.008, 0.008, 0.04)])
def test_element_size_makes_pixels_square(tmp_path, stored):
    """Fiji writes z, y, x whatever the array is; others write the array's own order."""
    path = _h5(tmp_path / "v.h5", ARRAY.T, {"element_size_um": stored}, "xyz")
    assert open_volume(path).voxel_nm == pytest.approx((40, 8, 8))


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"resolution": VOXEL, "element_size_um": (0.03, 0.0045, 0.00525)}, r"40.0.*30.0"),
        ({"resolution": VOXEL, "voxel_size": (41, 4.5, 5.25)}, r"40.0.*41.0"),
        ({"resolution": VOXEL, "units": "pixel"}, f"unit 'pixel'.*{FLAG}"),
        (_tags("zyx", VOXEL), f"got 40, 4.5, 5.25 .z, y, x. in axistags, without a unit.*{FLAG}"),
        (_tags("zyx", (0, 0, 0)), f"got no voxel size.*{FLAG}"),
        ({"resolution": (40.0, 0.0, 5.25)}, f"got no voxel size.*{FLAG}"),
        ({"resolution": (np.nan, 4.5, 5.25)}, f"got no voxel size.*{FLAG}"),
        ({"resolution": "40 nm"}, f"got no voxel size.*{FLAG}"),
    ],
    ids=str,
)
def test_sizes_that_are_none(tmp_path, attrs, words):
    path = _h5(tmp_path / "v.h5", attrs=attrs)
    with pytest.raises(ValueError, match=words):
        open_volume(path)
    assert open_volume(path, voxel_nm=(30, 2, 1)).voxel_nm == (30, 2, 1)


def test_a_size_in_another_unit_is_said(tmp_path):
    size = (0.04, 0.008, 0.008)
    (note,) = open_volume(_h5(tmp_path / "v.h5", attrs={"resolution": size})).notes
    assert "in um?" in note
    assert open_volume(_h5(tmp_path / "w.h5", attrs={"resolution": size, "unit": "nm"})).notes == ()


@pytest.mark.parametrize(
    ("attrs", "voxel", "corner"),
    [
        ({"resolution": VOXEL}, None, (0, 0, 0)),
        ({"resolution": VOXEL, "offset": (80, -9, 21)}, None, (80, -9, 21)),
        ({"resolution": VOXEL, "offset": (80, -9, 21)}, (80, 9, 10.5), (160, -18, 42)),
        ({"resolution": UM, "offset": (0.08, 0, 0), "units": ["um"] * 3}, None, (80, 0, 0)),
        ({"element_size_um": UM, "offset": (80, -9, 21)}, None, (80, -9, 21)),
    ],
    ids=str,
)
def test_offset_is_a_corner(tmp_path, attrs, voxel, corner):
    volume = open_volume(_h5(tmp_path / "v.h5", attrs=attrs), voxel_nm=voxel)
    centre = np.add(corner, np.divide(volume.voxel_nm, 2))
    assert volume.place.centre_nm == pytest.approx(tuple(centre))


def test_offset_of_a_turned_array(tmp_path):
    path = _h5(tmp_path / "v.h5", ARRAY.T, {**RES, "offset": (5.25, 9, 120)}, "xyz")
    assert open_volume(path).place.centre_nm == pytest.approx((140, 11.25, 7.875))


def test_written(tmp_path):
    path = tmp_path / "v.h5"
    with create_volume(path, (3, 70, 9), "uint8", VOXEL, place=Place((20, 2.25, 16))) as writer:
        writer[1:2, 3:5, :] = np.ones((1, 2, 9), np.uint8)
    with h5py.File(path) as file:
        array = file["volumes/raw"]
        assert [dimension.label for dimension in array.dims] == ["z", "y", "x"]
        np.testing.assert_allclose(array.attrs["offset"], (0, 0, 16 - 2.625))
        assert array.id.get_num_chunks() == 2
    volume = open_volume(path)
    assert volume.absent_chunks(slice(None)) == (0, 2) and volume[:].sum() == 18
    assert volume.place.centre_nm == (20, 2.25, 16)


@pytest.mark.parametrize("chunks", [None, (2, 3, 4)])
def test_never_written(tmp_path, chunks):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("raw", (5, 7, 9), "u1", chunks=chunks)
    with pytest.raises(ValueError, match="dataset /raw: got none of its voxels"):
        open_volume(tmp_path / "v.h5", voxel_nm=VOXEL)


def test_some_chunks_absent(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        raw = file.create_dataset("raw", (9, 1, 7, 5), "u1", chunks=(4, 1, 3, 2))  # x c y z
        raw[0:4, :, 3:7, 0:2] = 1
        raw.attrs["axes"] = "xcyz"
    volume = open_volume(tmp_path / "v.h5", voxel_nm=VOXEL)
    assert volume.shape == (5, 7, 9)
    assert volume.absent_chunks(slice(None)) == (25, 27)  # 3 x 3 x 3 chunks, 2 stored
    box = (slice(1, 3), slice(2, 4), slice(3, 4))  # chunks 0-1, 0-1, 0: (z 0, y 1) is stored
    assert volume.absent_chunks(box) == (3, 4)


def test_a_virtual_dataset(tmp_path):
    parts = h5py.VirtualLayout((2, 7, 9), "u2")
    for i in range(2):
        _h5(tmp_path / f"part{i}.h5", ARRAY[i], name="d")
        parts[i] = h5py.VirtualSource(f"part{i}.h5", "d", (7, 9))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("raw", parts)
    np.testing.assert_array_equal(open_volume(tmp_path / "v.h5", voxel_nm=VOXEL)[:], ARRAY[:2])
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(ValueError, match=r"1 of its 2 files are not there, the first is part1.h5"):
        open_volume(tmp_path / "v.h5", voxel_nm=VOXEL)


def test_links(tmp_path):
    _h5(tmp_path / "other.h5", name="em")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"] = h5py.ExternalLink("other.h5", "/em")
        file["lost"] = h5py.ExternalLink("gone.h5", "/em")
    for dataset in ("", "raw"):
        volume = open_volume(tmp_path / "v.h5", dataset=dataset, voxel_nm=VOXEL)
        np.testing.assert_array_equal(volume[:], ARRAY)
    with pytest.raises(ValueError, match=r"'lost' is a link into gone.h5"):
        open_volume(tmp_path / "v.h5", dataset="lost", voxel_nm=VOXEL)
    with pytest.raises(ValueError, match=r"dataset: got 'x', wanted one of \['raw'\]"):
        open_volume(tmp_path / "v.h5", dataset="x", voxel_nm=VOXEL)


def test_labels_beside_are_not_chosen_between(tmp_path):
    path = _h5(tmp_path / "v.h5", name="raw", attrs={"resolution": VOXEL})
    with h5py.File(path, "r+") as file:
        file["volumes/labels"] = ARRAY.astype(np.uint64)
    with pytest.raises(
        ValueError, match=r"dataset: got '', wanted one of \['raw', 'volumes/labels'\]"
    ):
        open_volume(path)
    np.testing.assert_array_equal(open_volume(path, dataset="raw")[:], ARRAY)
    with pytest.raises(ValueError, match="dtype: got uint64"):
        open_volume(path, dataset="volumes/labels", voxel_nm=VOXEL)


def test_a_filter_that_is_missing(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_filter(311, h5py.h5z.FLAG_OPTIONAL)  # of no known filter
        file.create_dataset("raw", data=ARRAY, chunks=(5, 7, 9), dcpl=plist)
    with pytest.raises(ValueError, match=r"HDF5 filter 311 .* is missing: pip install hdf5plugin"):
        open_volume(tmp_path / "v.h5", voxel_nm=VOXEL)


@pytest.mark.parametrize("array", [np.zeros((2, 3, 4), "u1,f4"), np.full((2, 3, 4), b"text")])
def test_other_dtypes(tmp_path, array):
    with pytest.raises(ValueError, match=r"dtype: got .*, wanted one of int8"):
        open_volume(_h5(tmp_path / "v.h5", array), voxel_nm=VOXEL)
