"""Axes, voxel sizes and places as the files of zarr, OME-Zarr, N5 and precomputed state them."""

import json

import numpy as np
import pytest
import tensorstore as ts
import zarr

from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 8.0, 8.0)
ARRAY = np.arange(5 * 7 * 9, dtype=np.uint16).reshape(5, 7, 9)
SPACE = {"type": "space", "unit": "nanometer"}


def _zarr(path, array=ARRAY, form=3, attributes=(), **options):
    store = zarr.create_array(path, data=array, zarr_format=form, **options)
    store.attrs.update(dict(attributes))
    return path


def _n5(path, array=ARRAY, attributes=(), group=()):
    """Store an array as N5, which counts axes from the fastest one."""
    metadata = {"dimensions": array.shape[::-1], "blockSize": [4] * array.ndim}
    metadata |= {"dataType": array.dtype.name, "compression": {"type": "raw"}}
    kvstore = {"driver": "file", "path": str(path / "s0")}
    spec = {"driver": "n5", "kvstore": kvstore, "metadata": metadata}
    ts.open(spec, create=True).result().T.write(array).result()
    content = json.loads((path / "s0/attributes.json").read_text())
    (path / "s0/attributes.json").write_text(json.dumps(content | dict(attributes)))
    (path / "attributes.json").write_text(json.dumps({"n5": "2.0.0", **dict(group)}))
    return path


def _ome(path, multiscale, array=ARRAY, form="v05", names=None):
    group = zarr.open_group(path, mode="w", zarr_format=2 if form == "v04" else 3)
    content = {"multiscales": [multiscale]}
    group.attrs.update(content if form == "v04" else {"ome": {"version": form, **content}})
    for dataset in multiscale["datasets"]:
        options = {"dimension_names": names} if names else {}
        group.create_array(dataset["path"], data=array, **options)
    return path


def _scales(path, *transforms):
    return {"path": path, "coordinateTransformations": list(transforms)}


def _scale(*values):
    return {"type": "scale", "scale": list(values)}


def _fails(words, call, *arguments, **options):
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


TURNED = ("stored as x, y, z, as its axes are named: transposed to z, y, x",)


@pytest.mark.parametrize(
    "names",
    [("x", "y", "z"), ("X", "Y", "Z"), ("width", "height", "depth"), ("col", "row", "plane")],
)
@pytest.mark.parametrize("where", ["dimension_names", "_ARRAY_DIMENSIONS", "axis_names"])
def test_zarr_axes_by_name(tmp_path, names, where):
    stored = np.ascontiguousarray(ARRAY.T)
    if where == "dimension_names":
        path = _zarr(tmp_path / "v.zarr", stored, dimension_names=names)
    else:
        path = _zarr(tmp_path / "v.zarr", stored, 2, {where: names})
    volume = open_volume(path, voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], ARRAY[1:4, 2:6, 3:9])
    assert volume.notes == TURNED
    assert volume.absent_chunks(np.s_[:])[0] == 0


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (("z", "y", "x"), ()),
        (("c^", "z", "y", "x"), ()),  # funlib marks a channel
        (
            ("dim_0", "dim_1", "dim_2"),
            ("dim_0, dim_1, dim_2: they are taken as z, y, x in stored order",),
        ),
        ((None, "y", "x"), ("?, y, x: the nameless one is taken as z",)),
        (("sample", "y", "x"), ("sample, y, x: the nameless one is taken as z",)),
        ((None, None, None), ()),
    ],
)
def test_names_that_leave_the_stored_order(tmp_path, names, note):
    array = ARRAY if len(names) == 3 else ARRAY[None]
    volume = open_volume(_zarr(tmp_path / "v", array, dimension_names=names), voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.notes == tuple(f"the axes are named {each}" for each in note)


@pytest.mark.parametrize(
    "names",
    [("t", "y", "x"), ("channel", "y", "x"), ("z", "y", "c"), ("z", "z", "x"), ("x", "a", "b")],
)
def test_names_that_tell_of_no_volume(tmp_path, names):
    path = _zarr(tmp_path / "v.zarr", attributes={"_ARRAY_DIMENSIONS": names})
    _fails(["axes: got", ", ".join(names), "wanted z, y, x"], open_volume, path, voxel_nm=VOXEL)


def test_names_that_contradict(tmp_path):
    stored = {"_ARRAY_DIMENSIONS": ["x", "y", "z"]}
    path = _zarr(tmp_path / "v.zarr", attributes=stored, dimension_names=("z", "y", "x"))
    words = ["axes: got x, y, z in _ARRAY_DIMENSIONS", "z, y, x in dimension_names"]
    _fails(words, open_volume, path, voxel_nm=VOXEL)
    axes = [{"name": name, **SPACE} for name in "zyx"]
    multiscale = {"axes": axes, "datasets": [_scales("0", _scale(*VOXEL))]}
    path = _ome(tmp_path / "w.zarr", multiscale, names=("x", "y", "z"))
    _fails(["x, y, z in dimension_names", "z, y, x in OME axes"], open_volume, path)
    short = _zarr(tmp_path / "u.zarr", attributes={"axis_names": ["z", "y"]})
    _fails(
        ["axes: got axis_names z, y", "a name for each axis"], open_volume, short, voxel_nm=VOXEL
    )


def test_n5_axes_by_name(tmp_path):
    stored = np.ascontiguousarray(ARRAY.transpose(1, 0, 2))  # y is slowest: N5 names x, z, y
    volume = open_volume(_n5(tmp_path / "v.n5", stored, {"axes": list("xzy")}), voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)
    python = {"axis_names": list("zyx"), "resolution": [40, 8, 8], "units": ["nm"] * 3}
    volume = open_volume(_n5(tmp_path / "w.n5", attributes=python))
    assert volume.voxel_nm == VOXEL
    np.testing.assert_array_equal(volume[:], ARRAY)
    # zyx as N5 counts would be an array whose fastest axis is z
    unclear = _n5(tmp_path / "u.n5", attributes={"axes": list("zyx"), "resolution": [40, 8, 8]})
    _fails(["axes: got z, y, x", "(9, 7, 5)", "(5, 7, 9)"], open_volume, unclear, voxel_nm=VOXEL)


@pytest.mark.parametrize(
    ("attributes", "noted"),
    [
        ({"resolution": [40, 8, 8]}, True),
        ({"voxel_size": [40, 8, 8], "resolution": [40, 8, 8]}, True),
        ({"voxel_size": [0.04, 0.008, 0.008], "units": ["um", "um", "um"]}, False),
        ({"resolution": [0.04, 8, 8], "units": ["um", "nm", "nm"], "unit": ""}, False),
        ({"resolution": [0.04, 0.008, 0.008], "unit": "micrometer"}, False),
        ({"pixelResolution": {"dimensions": [8, 8, 40], "unit": "nm"}}, False),
        ({"pixelResolution": [8, 8, 40], "unit": "nm"}, False),
        ({"transform": {"axes": list("xyz"), "scale": [8, 8, 40], "units": ["nm"] * 3}}, False),
        ({"transform": [1, 0, 0, 0, 1, 0], "resolution": [40, 8, 8]}, True),
    ],
    ids=str,
)
def test_zarr_voxel_sizes_beside_ome(tmp_path, attributes, noted):
    volume = open_volume(_zarr(tmp_path / "v.zarr", attributes=attributes))
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert bool(volume.notes) == noted and all("has no unit: nm" in note for note in volume.notes)


def test_voxel_size_of_named_axes(tmp_path):
    stored, sizes = np.ascontiguousarray(ARRAY.T), {"voxel_size": [8, 8, 40], "unit": "nm"}
    path = _zarr(tmp_path / "v.zarr", stored, attributes=sizes, dimension_names=("x", "y", "z"))
    volume = open_volume(path)
    assert (volume.voxel_nm, volume.notes) == (VOXEL, TURNED)
    # three sizes for the three spatial axes of four
    four = _zarr(
        tmp_path / "w.zarr", stored[None], attributes=sizes, dimension_names=("c", "x", "y", "z")
    )
    assert open_volume(four).voxel_nm == VOXEL


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"resolution": [40, 8, 8], "units": ["nm"] * 3, "unit": "um"}, ["units: got", "'um'"]),
        ({"resolution": [40, 8, 8], "voxel_size": [50, 8, 8]}, ["voxel size: got", "50"]),
        ({"resolution": [40, 8, 8], "unit": "pixel"}, ["'pixel'", "voxel_nm=z,y,x"]),
        ({"pixelResolution": [0.008, 0.008, 0.04]}, ["without a unit", "voxel_nm=z,y,x"]),
        ({"resolution": [8, 8, 40]}, ["resolution: got 8, 8, 40 for z, y, x", "voxel_nm=z,y,x"]),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_used_are_refused_unless_one_is_given(tmp_path, attributes, words):
    path = _zarr(tmp_path / "v.zarr", attributes=attributes)
    _fails(words, open_volume, path)
    assert open_volume(path, voxel_nm=VOXEL).voxel_nm == VOXEL


def test_n5_sizes_of_either_order(tmp_path):
    offset = {"offset": [400, 80, 160]}
    path = _n5(tmp_path / "v.n5", attributes={"resolution": [40, 8, 8], **offset})
    _fails(["got 8, 8, 40 for z, y, x", "voxel_nm=z,y,x"], open_volume, path)
    # the user's size tells the order: 10, 10 and 20 voxels, and half a voxel to the centre
    assert open_volume(path, voxel_nm=VOXEL).place.centre_nm == (420.0, 84.0, 164.0)
    right = _n5(tmp_path / "w.n5", attributes={"resolution": [8, 8, 40], "offset": [160, 80, 400]})
    assert open_volume(right).voxel_nm == VOXEL
    assert open_volume(right).place.centre_nm == (420.0, 84.0, 164.0)
    alike = _n5(tmp_path / "u.n5", attributes={"resolution": [0.008, 0.008, 0.04], "unit": "um"})
    assert open_volume(alike).voxel_nm == pytest.approx(VOXEL)


def test_places_of_zarr_and_n5(tmp_path):
    size = {"resolution": [40, 8, 8], "unit": "nm"}
    # funlib's offset is that of the corner
    corner = _zarr(tmp_path / "a.zarr", attributes={**size, "offset": [400, 16, 24]})
    assert open_volume(corner).place.centre_nm == (420.0, 20.0, 28.0)
    # a voxel size of the caller corrects the unit of the offset as well
    assert open_volume(corner, voxel_nm=(4, 0.8, 0.8)).place.centre_nm == pytest.approx(
        (42, 2, 2.8)
    )
    cosem = {"axes": list("zyx"), "scale": VOXEL, "translate": [5, 6, 7], "units": ["nm"] * 3}
    for path in (
        _zarr(tmp_path / "b.zarr", attributes={"transform": cosem}),
        _n5(tmp_path / "b.n5", attributes={"transform": cosem}),
    ):
        assert open_volume(path).place.centre_nm == (5.0, 6.0, 7.0)
    # Paintera's is that of the centre, of the first level
    group = {"multiScale": True, "resolution": [8, 8, 40], "offset": [24, 16, 400]}
    paintera = _n5(tmp_path / "c.n5", group=group)
    assert open_volume(paintera).place.centre_nm == (400.0, 16.0, 24.0)
    level = _n5(tmp_path / "d.n5", attributes={"downsamplingFactors": [2, 4, 1]}, group=group)
    assert open_volume(level).voxel_nm == (40.0, 32.0, 16.0)
    assert open_volume(level).place.centre_nm == (400.0, 16.0 + 1.5 * 8, 24.0 + 0.5 * 8)


def _precomputed(path, *scales):
    """Write scales of the same array: key, resolution and offset, both x, y, z."""
    image = {"type": "image", "data_type": "uint16", "num_channels": 1}
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": str(path)}}
    for key, resolution, offset in scales:
        scale = {"key": key, "size": ARRAY.shape[::-1], "resolution": resolution}
        scale |= {"voxel_offset": offset, "chunk_size": [4, 4, 4], "encoding": "raw"}
        store = ts.open(
            {**spec, "multiscale_metadata": image, "scale_metadata": scale}, create=True, open=True
        )
        store.result()[..., 0].translate_to[0, 0, 0].T.write(ARRAY).result()
    return path


def test_place_and_scale_of_precomputed(tmp_path):
    coarse, fine = ("c", (16, 16, 40), (5, 10, 30)), ("f", (8, 8, 40), (10, 20, 30))
    volume = open_volume(_precomputed(tmp_path / "v", coarse, fine))
    assert volume.voxel_nm == VOXEL
    assert volume.place.centre_nm == (30.5 * 40, 20.5 * 8, 10.5 * 8)
    assert volume.notes == ("scale f is read, the finest one, though c is listed first",)
    chosen = open_volume(tmp_path / "v", dataset="c")
    assert (chosen.notes, chosen.place.centre_nm) == ((), (30.5 * 40, 10.5 * 16, 5.5 * 16))
    assert open_volume(_precomputed(tmp_path / "w", fine, coarse)).notes == ()


NAMES = [("v.zarr", "zarr2"), ("v.zarr", "zarr3"), ("v.n5", "n5"), ("v.precomputed", "precomputed")]


@pytest.mark.parametrize(("name", "form"), NAMES)
def test_places_are_written_and_read_again(tmp_path, name, form):
    place = Place((30.5 * 40, 20.5 * 8, -9.5 * 8))  # whole voxels to the corner
    path = tmp_path / name
    with create_volume(path, ARRAY.shape, "uint16", VOXEL, format=form, place=place) as writer:
        writer[:] = ARRAY
    volume = open_volume(path)
    assert volume.place.centre_nm == pytest.approx(place.centre_nm)
    np.testing.assert_array_equal(volume[:], ARRAY)


def test_a_place_that_precomputed_must_round(tmp_path):
    path, place = tmp_path / "v.precomputed", Place((1230.0, 164.0, 82.0))
    with create_volume(path, ARRAY.shape, "uint16", VOXEL, place=place) as writer:
        writer[:] = ARRAY
    # 30.25 voxels to the corner become 30, 20 stay, 9.75 become 10
    assert json.loads((path / "info").read_text())["scales"][0]["voxel_offset"] == [10, 20, 30]
    assert open_volume(path).place.centre_nm == (1220.0, 164.0, 84.0)
