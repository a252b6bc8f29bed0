"""OME-Zarr of every version: axes, voxel sizes and places, and what else an image holds."""

import numpy as np
import pytest
import zarr

from emgauss_jax.data.volume import open_volume

VOXEL = (40.0, 8.0, 8.0)
ARRAY = np.arange(5 * 7 * 9, dtype=np.uint16).reshape(5, 7, 9)


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


def _shift(*values):
    return {"type": "translation", "translation": list(values)}


def _fails(words, call, *arguments, **options):
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def _multiscale(*datasets, unit="nanometer", **more):
    axes = [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    return {"axes": axes, "datasets": list(datasets), **more}


def test_place_of_ome_zarr(tmp_path):
    level = _scales("0", _scale(0.02, 0.004, 0.004), _shift(1, 2, 3))
    group = [_scale(2, 2, 2), _shift(0.5, 0, 0)]
    multiscale = _multiscale(level, unit="micrometer", coordinateTransformations=group)
    volume = open_volume(_ome(tmp_path / "v.zarr", multiscale, form="v04"))
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert volume.place.centre_nm == pytest.approx((2500, 4000, 6000))
    # without a unit the translation counts in voxels of the size that the caller gives
    multiscale = _multiscale(_scales("0", _scale(1, 1, 1), _shift(10, 20, 30)), unit=None)
    unitless = _ome(tmp_path / "w.zarr", multiscale)
    _fails(["no voxel size"], open_volume, unitless)
    assert open_volume(unitless, voxel_nm=VOXEL).place.centre_nm == (400.0, 160.0, 240.0)


def test_ome_zarr_without_a_scale_has_no_voxel_size(tmp_path):
    path = _ome(tmp_path / "v.zarr", _multiscale(_scales("0", {"type": "identity"})))
    _fails(["no voxel size"], open_volume, path)
    volume = open_volume(path, voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)
    turned = _scales("0", {"type": "affine", "affine": [[1, 0, 0, 0]]})
    _fails(["got affine"], open_volume, _ome(tmp_path / "w.zarr", _multiscale(turned)))
    attribute = _ome(tmp_path / "u.zarr", _multiscale(_scales("0", _scale(1, 1, 1)), unit=""))
    zarr.open_array(attribute / "0").attrs["resolution"] = list(VOXEL)
    assert open_volume(attribute).voxel_nm == VOXEL


def _system(name, unit, names="zyx"):
    return {"name": name, "axes": [{"name": axis, "type": "space", "unit": unit} for axis in names]}


@pytest.mark.parametrize("named", [str, lambda name: {"name": name}])
def test_ome_zarr_0_6(tmp_path, named):
    sequence = {
        "type": "sequence",
        "transformations": [_scale(0.04, 0.008, 0.008), _shift(1, 2, 3)],
    }
    levels = [
        _scales("s0", {**sequence, "input": {"path": "s0"}, "output": named("tissue")}),
        _scales("s1", {**_scale(0.08, 0.016, 0.016), "output": named("tissue")}),
    ]
    systems = [_system("atlas", "millimeter", "abc"), _system("tissue", "micrometer")]
    onward = {"type": "rotation", "input": named("tissue"), "output": named("atlas")}
    content = {
        "coordinateSystems": systems,
        "datasets": levels,
        "coordinateTransformations": [onward],
    }
    path = _ome(tmp_path / "v.zarr", content, form="0.6")
    volume = open_volume(path)
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert volume.place.centre_nm == pytest.approx((1000, 2000, 3000))
    assert volume.notes == ()
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert open_volume(path, dataset="s1").voxel_nm == pytest.approx((80, 16, 16))
    levels[0]["coordinateTransformations"][0]["output"] = named("nowhere")
    _fails(["got output 'nowhere'"], open_volume, _ome(tmp_path / "w.zarr", content, form="0.6"))


def test_what_else_an_image_holds_is_noted(tmp_path):
    levels = [_scales("coarse", _scale(40, 16, 16)), _scales("fine", _scale(*VOXEL))]
    path = _ome(tmp_path / "v.zarr", _multiscale(*levels))
    volume = open_volume(path)
    assert volume.voxel_nm == (40.0, 16.0, 16.0)
    assert volume.notes == ("level coarse is read, the first one listed, though fine is finer",)
    assert open_volume(path, dataset="fine").notes == ()
    group = zarr.open_group(path)
    one = _multiscale(levels[1])
    group.attrs["ome"] = {"version": "0.5", "multiscales": [one, one]}
    assert open_volume(path).notes == ("the first of 2 images in the group is read",)
    series = tmp_path / "series.zarr"
    zarr.open_group(series, mode="w").attrs["ome"] = {"bioformats2raw.layout": 3}
    for name in "01":
        _ome(series / name, one)
    assert open_volume(series).notes == ("image 0 is read; the file has 1 too",)
    plate = tmp_path / "plate.zarr"
    zarr.open_group(plate, mode="w").attrs["ome"] = {"plate": {"wells": [{"path": "A/1"}]}}
    _ome(plate / "A/1/0", one)
    _fails(["a plate", "A/1/0", "['A']"], open_volume, plate)
    np.testing.assert_array_equal(open_volume(plate, dataset="A/1/0")[:], ARRAY)


def test_every_axis_has_a_unit_of_its_own(tmp_path):
    axes = [
        {"name": axis, "type": "space", "unit": unit}
        for axis, unit in zip("zyx", ("micrometer", "nanometer", "angstrom"), strict=True)
    ]
    multiscale = {"axes": axes, "datasets": [_scales("0", _scale(0.04, 8, 80))]}
    volume = open_volume(_ome(tmp_path / "v.zarr", multiscale))
    np.testing.assert_allclose(volume.voxel_nm, VOXEL)
    for axis in axes:
        axis["unit"] = " "
    _fails(["got unit ' '"], open_volume, _ome(tmp_path / "w.zarr", multiscale))
