"""NIfTI: axes, units, transforms, scaling, and what nibabel says of what is written."""

import itertools

import nibabel
import numpy as np
import pytest

from emgauss_jax.data.formats.interface import AT_ORIGIN, Place
from emgauss_jax.data.volume import create_volume, open_volume, output_suffix

VOXEL = (40.0, 4.5, 5.25)  # nm, z y x
ARRAY = (np.arange(5 * 7 * 9) * 200).astype(np.uint16).reshape(5, 7, 9)  # z y x
MM = np.diag([5.25e-6, 4.5e-6, 40e-6, 1])


def _nii(path, array=ARRAY, affine=MM, unit="mm", kind=nibabel.Nifti1Image, edit=None):
    image = kind(array.T, affine)  # i, j, k are x, y, z
    image.header.set_xyzt_units(unit)
    if edit:
        edit(image.header)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_read(tmp_path, suffix, kind):
    volume = open_volume(_nii(tmp_path / f"a.b{suffix}", kind=kind))
    assert (volume.format, output_suffix(volume), volume.shape) == ("nifti", ".nii", (5, 7, 9))
    assert volume.voxel_nm == VOXEL and volume.place == AT_ORIGIN
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], ARRAY[1:4, 2:6, 3:9])
    assert ["memory" in note for note in volume.notes] == [True] * (suffix == ".nii.gz")


@pytest.mark.parametrize(("unit", "nm"), [("mm", 1e6), ("micron", 1e3), ("meter", 1e9)])
def test_units(tmp_path, unit, nm):
    affine = np.diag([5.25 / nm, 4.5 / nm, 40 / nm, 1])
    affine[:3, 3] = np.array([1, -2, 3]) / nm
    volume = open_volume(_nii(tmp_path / "v.nii", affine=affine, unit=unit))
    assert volume.voxel_nm == VOXEL
    assert volume.place.centre_nm == pytest.approx((3, -2, 1))


def test_no_unit(tmp_path):
    affine = np.diag([5.25, 4.5, 40, 1])
    affine[:3, 3] = 10.5, 9, 80
    path = _nii(tmp_path / "v.nii", affine=affine, unit="unknown")
    with pytest.raises(ValueError, match=r"got 40,4.5,5.25 .z, y, x. without a unit.*voxel_nm="):
        open_volume(path)
    for scale in (1, 2):  # the world has the unit that the user's voxel size gives it
        volume = open_volume(path, voxel_nm=np.multiply(VOXEL, scale))
        assert volume.place.centre_nm == pytest.approx(np.multiply((80, 9, 10.5), scale))
    other = open_volume(path, voxel_nm=(50, 4.5, 5.25))  # not the file's: its world means nothing
    assert other.place.centre_nm == (0, 0, 0)


def _turned(order, signs):
    """An affine whose i, j, k run along world axes `order` (of x, y, z), with signs."""
    affine = np.zeros((4, 4))
    for column, (axis, sign, size) in enumerate(zip(order, signs, VOXEL[::-1], strict=True)):
        affine[axis, column] = sign * size * 1e-6
    affine[:, 3] = 1e-6, 2e-6, -3e-6, 1
    return affine


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, 1, -1)])
def test_every_turn_is_kept(tmp_path, order, signs):
    """An output whose planes lie closer starts at the same world point and runs the same way."""
    affine = _turned(order, signs)
    volume = open_volume(_nii(tmp_path / "v.nii", affine=affine))
    world = np.zeros((3, 3))
    for i, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        world[2 - i, 2 - axis] = sign  # both z, y, x
    np.testing.assert_allclose(volume.place.axes, world, atol=1e-6)
    fine, finer = (8.0, 4.5, 5.25), tmp_path / "w.nii"
    with create_volume(finer, (21, 7, 9), "uint16", fine, place=volume.place) as writer:
        writer[::] = np.ones((21, 7, 9), np.uint16)
    written = nibabel.load(finer).affine
    np.testing.assert_allclose(written[:3, 3], affine[:3, 3], rtol=1e-6)
    np.testing.assert_allclose(written @ (1, 2, 5, 1), affine @ (1, 2, 1, 1), rtol=1e-5)
    again = open_volume(finer).place
    np.testing.assert_allclose(again.centre_nm, volume.place.centre_nm, rtol=1e-6)
    np.testing.assert_allclose(again.axes, volume.place.axes, atol=1e-6)


def test_qform_alone_and_neither(tmp_path):
    affine = _turned((1, 0, 2), (-1, 1, 1))

    def only_qform(header):
        header.set_qform(affine, 1)
        header.set_sform(None, 0)

    def neither(header):
        header.set_qform(affine, 0)
        header.set_sform(None, 0)

    volume = open_volume(_nii(tmp_path / "q.nii", affine=None, edit=only_qform))
    assert volume.voxel_nm == VOXEL
    # y runs along x of the world, x against its y; both are z, y, x
    np.testing.assert_allclose(volume.place.axes, [(1, 0, 0), (0, 0, 1), (0, -1, 0)], atol=1e-6)
    assert open_volume(_nii(tmp_path / "n.nii", affine=None, edit=neither)).place == AT_ORIGIN


def test_an_oblique_volume(tmp_path):
    angle = np.radians(30)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = MM.copy()
    affine[:3, :3] = turn @ MM[:3, :3]
    volume = open_volume(_nii(tmp_path / "v.nii", affine=affine))
    assert volume.voxel_nm == pytest.approx(VOXEL) and volume.notes == ()
    # x of the array points along (cos, sin) of world x and y
    np.testing.assert_allclose(volume.place.axes[2], (0, 0.5, np.sqrt(0.75)), atol=1e-6)
    affine[:3, 1] = affine[:3, 0] + affine[:3, 1]
    sheared = open_volume(_nii(tmp_path / "s.nii", affine=affine))
    assert "sheared" in sheared.notes[0]


def test_sizes_that_contradict(tmp_path):
    def edit(header):
        header["pixdim"][3] = 30e-6

    path = _nii(tmp_path / "v.nii", edit=edit)
    with pytest.raises(ValueError, match=r"voxel size .*in pixdim.*in the affine, wanted the same"):
        open_volume(path)
    assert open_volume(path, voxel_nm=VOXEL).shape == (5, 7, 9)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "want"),
    [("int16", 2, -100, "float32"), ("uint8", 1, 5, "float32"), ("int32", 0.5, 0, "float64"),
     ("int16", 1, 0, "int16"), ("int16", 0, 7, "int16"), ("int16", np.nan, np.nan, "int16")],
)  # fmt: skip
def test_scaling(tmp_path, dtype, slope, inter, want):
    stored = (np.arange(315) % 120).reshape(5, 7, 9).astype(dtype)
    path = _nii(tmp_path / "v.nii", stored)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    volume = open_volume(path)
    scaled = want != dtype
    assert volume.dtype == want
    assert ["scaled" in note for note in volume.notes] == [True] * scaled
    values = stored.astype(float) * slope + inter if scaled else stored
    np.testing.assert_array_equal(volume[1:3], values[1:3])


@pytest.mark.parametrize("dtype", ["int64", "complex64", "rgb"])
def test_other_dtypes(tmp_path, dtype):
    dtype = [(channel, "u1") for channel in "RGB"] if dtype == "rgb" else dtype
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), dtype), MM, dtype=np.dtype(dtype))
    nibabel.save(image, tmp_path / "v.nii")
    with pytest.raises(ValueError, match=r"colour image|dtype: got (int64|complex64), wanted"):
        open_volume(tmp_path / "v.nii", voxel_nm=VOXEL)


def test_further_axes(tmp_path):
    single = _nii(tmp_path / "v.nii", ARRAY[None, None])
    np.testing.assert_array_equal(open_volume(single)[:], ARRAY)
    one_row = _nii(tmp_path / "r.nii", ARRAY[None, :, :, :1])  # x is 1 long, and is kept
    np.testing.assert_array_equal(open_volume(one_row)[:], ARRAY[:, :, :1])
    series = _nii(tmp_path / "w.nii", np.stack([ARRAY, ARRAY]))
    with pytest.raises(ValueError, match=r"got shape \(9, 7, 5, 2\), wanted"):
        open_volume(series)


def test_truncated(tmp_path):
    path = _nii(tmp_path / "v.nii")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="got 981 bytes, wanted 982: the file is truncated"):
        open_volume(path)
    path = _nii(tmp_path / "v.nii.gz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"v.nii.gz: "):
        open_volume(path)


@pytest.mark.parametrize("shape", [(5, 7, 9), (2, 1, 32768)])
def test_written(tmp_path, shape):
    path, array = tmp_path / "v.nii", np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    with create_volume(path, shape, "float32", VOXEL, place=Place((16, -4.5, 8))) as writer:
        writer[:1] = array[:1]
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti2Image) == (max(shape) > 32767)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.header.get_zooms(), np.divide(VOXEL, 1e6)[::-1], rtol=1e-6)
    for affine in (image.get_sform(), image.get_qform()):
        np.testing.assert_allclose(affine[:3, 3], (8e-6, -4.5e-6, 16e-6), rtol=1e-6)
        np.testing.assert_allclose(affine[:3, :3], MM[:3, :3], rtol=1e-6, atol=1e-12)
    want = array * (np.arange(shape[0]) < 1)[:, None, None]
    np.testing.assert_array_equal(np.asarray(image.dataobj), want.T)
    with pytest.raises(ValueError, match="dtype: got float16"):
        create_volume(tmp_path / "h.nii", shape, "float16", VOXEL)
    with pytest.raises(ValueError, match=r"got .nii.gz, which is only read, wanted .nii"):
        create_volume(tmp_path / "v.nii.gz", shape, "uint8", VOXEL)
