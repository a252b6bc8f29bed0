"""MRC: signed and unsigned bytes, odd headers, axis orders, place, compressed files."""

import bz2
import gzip
import itertools

import mrcfile
import numpy as np
import pytest

from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.volume import create_volume, open_volume, output_suffix

VOXEL = (40.0, 4.5, 5.25)  # nm, z y x
ANGSTROM = (52.5, 45.0, 400.0)  # the same, x y z
ARRAY = (np.arange(5 * 7 * 9) * 200).astype(np.uint16).reshape(5, 7, 9)
IMOD = np.array([1146047817], "<i4").tobytes()


def _mrc(path, array, edit=None, size=ANGSTROM):
    with mrcfile.new(path) as mrc:
        mrc.set_data(array)
        mrc.voxel_size = size
        if edit:
            edit(mrc.header)
    return path


def _patch(path, at, data):
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)
    return path


def _extremes(low, high):
    def edit(header):
        header.dmin, header.dmax = low, high

    return edit


def _tissue(middle=120):
    """Smooth grey levels from middle - 50 to middle + 50, as uint8."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (4, 30, 34)), indexing="ij")
    wave = np.sin(x / 4.0) * np.cos(y / 5.0 + z)
    return np.rint(middle + 50 * wave).astype(np.uint8)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("header", ["true", "zero", "unknown", "wrong", "stale", "reading"])
def test_bytes_by_header_or_picture(tmp_path, signed, header):
    """The header's extremes are true, left out, or wrong: the picture is whole all the same."""
    tissue = _tissue()
    stored = tissue ^ np.uint8(128 * signed)
    low, high = int(tissue.min()) - 128 * signed, int(tissue.max()) - 128 * signed
    other = stored.astype(int) if signed else stored.view(np.int8)
    edit = {
        "true": _extremes(low, high), "zero": _extremes(0, 0), "unknown": _extremes(0, -1),
        "wrong": _extremes(other.min(), other.max()), "stale": _extremes(-3.5, 61000),
        "reading": _extremes(-128, 127) if signed else _extremes(0, 255),
    }[header]  # fmt: skip
    volume = open_volume(_mrc(tmp_path / "v.mrc", stored.view(np.int8), edit))
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(volume[:], tissue)
    notes = " ".join(volume.notes)
    if signed and header in ("true", "reading"):
        assert notes == ""
    else:
        assert f"read as {'signed' if signed else 'unsigned'}" in notes


def test_bytes_whose_header_is_impossible_for_signed_ones(tmp_path):
    path = _mrc(tmp_path / "v.mrc", _tissue(135).view(np.int8), _extremes(85, 185))
    volume = open_volume(path)
    assert "extremes, 85 to 185" in volume.notes[0]
    np.testing.assert_array_equal(volume[1:3, 4:9], _tissue(135)[1:3, 4:9])


@pytest.mark.parametrize("kind", ["noise", "mask", "dark"])
def test_bytes_that_nothing_tells_are_signed(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (4, 30, 34)).astype(np.uint8)
    stored = {"noise": noise, "mask": np.where(noise > 99, 255, 0), "dark": noise % 90}[kind]
    path = _mrc(tmp_path / "v.mrc", stored.astype(np.uint8).view(np.int8), _extremes(0, 0))
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], stored.astype(np.uint8) ^ 128)
    assert "as the standard says: neither" in volume.notes[0]


def test_padding_does_not_mislead(tmp_path):
    """Black beside white is one step as signed bytes: -1 and 0."""
    tissue = _tissue()
    tissue[:, ::3, ::2], tissue[:, ::3, 1::2] = 0, 255
    path = _mrc(tmp_path / "v.mrc", tissue.view(np.int8), _extremes(0, 0))
    np.testing.assert_array_equal(open_volume(path)[:], tissue)


@pytest.mark.parametrize("flag", [0, 1])
def test_the_flag_of_imod_counts_more_than_the_picture(tmp_path, flag):
    path = _mrc(tmp_path / "v.mrc", _tissue().view(np.int8), _extremes(70, 170))
    _patch(path, 152, IMOD + bytes([flag, 0, 0, 0]))
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], _tissue() ^ np.uint8(128 * flag))
    assert ("IMOD's flag" in " ".join(volume.notes)) == (flag == 0)


@pytest.mark.parametrize("stamp", ["44202020", "44000000", "00000000", "11110000"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32])
def test_stamps_that_are_wrong(tmp_path, stamp, dtype):
    array = ARRAY.astype(dtype)
    path = _patch(_mrc(tmp_path / "v.mrc", array), 212, bytes.fromhex(stamp))
    volume = open_volume(path)
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert any("machine stamp" in note and "little-endian" in note for note in volume.notes)
    np.testing.assert_array_equal(
        volume[:], array.view(np.uint8) ^ 128 if dtype == np.int8 else array
    )


@pytest.mark.parametrize("stamp", ["11110000", "44440000", "44202020"])
def test_big_endian(tmp_path, stamp):
    path = _patch(_mrc(tmp_path / "v.mrc", ARRAY.astype(">u2")), 212, bytes.fromhex(stamp))
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert len(volume.notes) == (stamp != "11110000")


@pytest.mark.parametrize(("name", "notes"), [(b"MAP\0", 0), (b"\0\0\0\0", 1)])
def test_the_name_map(tmp_path, name, notes):
    def edit(header):
        header.origin = (1, 2, 3)

    path = _patch(_mrc(tmp_path / "v.mrc", ARRAY, edit), 208, name)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert len(volume.notes) == notes
    assert volume.place.centre_nm == pytest.approx((0, 0, 0) if notes else (0.3, 0.2, 0.1))


@pytest.mark.parametrize("stored", list(itertools.permutations("zyx")))
def test_axis_orders(tmp_path, stored):
    """Cell and grid are in x, y, z; sizes and starts in columns, rows, sections."""
    order = ["zyx".index(axis) for axis in stored]  # of sections, rows, columns
    number = {"x": 1, "y": 2, "z": 3}
    start = {"z": 2, "y": 3, "x": -4}

    def edit(header):
        header.maps, header.mapr, header.mapc = (number[axis] for axis in stored)
        header.mz, header.my, header.mx = ARRAY.shape
        header.cella = tuple(np.multiply(ANGSTROM, ARRAY.shape[::-1]))
        header.nzstart, header.nystart, header.nxstart = (start[axis] for axis in stored)

    volume = open_volume(_mrc(tmp_path / "v.map", ARRAY.transpose(order), edit))
    assert volume.shape == ARRAY.shape
    assert volume.voxel_nm == pytest.approx(VOXEL)
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], ARRAY[1:4, 2:6, 3:9])
    assert volume.place.centre_nm == pytest.approx((2 * 40, 3 * 4.5, -4 * 5.25))
    assert [f"stored as {''.join(stored)}" in note for note in volume.notes] == [True] * (
        stored != ("z", "y", "x")
    )


def test_axes_that_are_none(tmp_path):
    def edit(header):
        header.mapc = 3

    path = _mrc(tmp_path / "v.mrc", ARRAY, edit)
    with pytest.raises(ValueError, match=r"\(3, 2, 3\), wanted 1 \(x\)"):
        open_volume(path)


def _stack_of_images(header):
    header.ispg, header.mz = 0, 1


def _nan_cell(header):
    header.cella.y = np.nan


@pytest.mark.parametrize(
    ("size", "edit"),
    [
        ((0, 45, 400), None),
        ((52.5, 45, 0), None),
        (ANGSTROM, _nan_cell),
        (ANGSTROM, _stack_of_images),
    ],
)
def test_no_voxel_size(tmp_path, size, edit):
    path = _mrc(tmp_path / "v.st", ARRAY, edit, size)
    with pytest.raises(ValueError, match=r"got no voxel size, wanted .*voxel_nm=z,y,x"):
        open_volume(path)
    np.testing.assert_array_equal(open_volume(path, voxel_nm=VOXEL)[:], ARRAY)


@pytest.mark.parametrize(("angles", "said"), [((90,) * 3, 0), ((0,) * 3, 0), ((90, 90, 120), 1)])
def test_angles_are_taken_as_right_ones(tmp_path, angles, said):
    def edit(header):
        header.cellb = angles

    note = "the cell's angles are 90, 90, 120 degrees: taken as 90, 90, 90"
    assert open_volume(_mrc(tmp_path / "v.mrc", ARRAY, edit)).notes == (note,) * said


def test_truncated_and_with_a_tail(tmp_path):
    path = _mrc(tmp_path / "v.mrc", ARRAY)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"got 1,653 bytes, wanted 1,654 .*truncated"):
        open_volume(path)
    path.write_bytes(whole + b"\1" * 7 * 9 * 2 * 2)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.notes == ("252 bytes behind the voxels (2.0 slices' worth) are left out",)


@pytest.mark.parametrize("kind", ["FEI1", "FEI2", "SERI", "CCP4", ""])
def test_extended_headers(tmp_path, kind):
    with mrcfile.new(tmp_path / "v.mrc") as mrc:
        mrc.set_data(ARRAY)
        mrc.set_extended_header(np.full(1000, 7, np.uint8))
        mrc.header.exttyp = kind
        mrc.voxel_size = ANGSTROM
    volume = open_volume(tmp_path / "v.mrc")
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.notes == ()


@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".map", ".st", ".mrcs", ".ali", ".preali"])
def test_suffixes(tmp_path, suffix):
    volume = open_volume(_mrc(tmp_path / f"v{suffix}", ARRAY))
    assert (volume.format, output_suffix(volume)) == ("mrc", ".mrc")


@pytest.mark.parametrize(
    ("suffix", "module"), [(".mrc.gz", gzip), (".map.GZ", gzip), (".st.bz2", bz2)]
)
def test_compressed(tmp_path, suffix, module):
    plain = _mrc(tmp_path / "v.mrc", ARRAY).read_bytes()
    path = tmp_path / f"a.b{suffix}"
    path.write_bytes(module.compress(plain))
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[2:4], ARRAY[2:4])
    assert "into memory" in volume.notes[0] and output_suffix(volume) == ".mrc"
    with pytest.raises(ValueError, match=r"only read, wanted \.mrc"):
        create_volume(tmp_path / f"w{suffix}", (1, 2, 3), "uint8", VOXEL)
    path.write_bytes(module.compress(plain)[:-20])
    with pytest.raises(ValueError, match="ended before"):
        open_volume(path)


@pytest.mark.parametrize(
    ("mode", "word"), [(3, "complex"), (4, "complex"), (16, "RGB"), (101, "4 bit")]
)
def test_other_modes(tmp_path, mode, word):
    path = _patch(_mrc(tmp_path / "v.mrc", ARRAY), 12, bytes([mode, 0, 0, 0]))
    with pytest.raises(ValueError, match=f"MRC mode: got {mode} .{word}.*6 .uint16."):
        open_volume(path)


def test_bytes_of_two_packed_values(tmp_path):
    path = _mrc(tmp_path / "v.mrc", _tissue().view(np.int8))
    _patch(path, 152, IMOD + bytes([16, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"MRC mode: got 0 .4 bit"):
        open_volume(path)


def test_stacks_of_volumes(tmp_path):
    volume = open_volume(_mrc(tmp_path / "one.mrc", ARRAY[None]))
    np.testing.assert_array_equal(volume[:], ARRAY)
    path = _mrc(tmp_path / "two.mrc", np.stack([ARRAY, ARRAY]))
    with pytest.raises(ValueError, match="10 sections in volumes of 5, wanted one"):
        open_volume(path)


def _place_in(path, flags=None, version=20141, origin=(30, 20, 10), start=(0, 0, 0)):
    def edit(header):
        header.origin, header.nversion = origin, version
        header.nxstart, header.nystart, header.nzstart = start

    _mrc(path, ARRAY, edit)
    if flags is not None:
        _patch(path, 152, IMOD + bytes([flags, 0, 0, 0]))
    return open_volume(path)


@pytest.mark.parametrize(
    ("flags", "version", "sign"), [(None, 0, 1), (0, 0, -1), (4, 0, 1), (0, 20140, 1)]
)
def test_origin(tmp_path, flags, version, sign):
    """IMOD turned the sign of the origin, until the standard's version or its flag 4 says not."""
    volume = _place_in(tmp_path / "v.mrc", flags, version)
    assert volume.place == Place((sign * 1.0, sign * 2.0, sign * 3.0))


def test_start_of_the_grid(tmp_path):
    grid = _place_in(tmp_path / "grid.mrc", origin=(0, 0, 0), start=(2, -3, 4))
    assert grid.place.centre_nm == pytest.approx((4 * 40, -3 * 4.5, 2 * 5.25))
    wider = open_volume(grid.path, voxel_nm=(80, 9, 10.5))  # the grid is that of the user's voxels
    assert wider.place.centre_nm == pytest.approx((4 * 80, -3 * 9, 2 * 10.5))
    both = _place_in(tmp_path / "both.mrc", start=(2, -3, 4))
    assert both.place == Place((1.0, 2.0, 3.0))
    assert "has an origin, which counts" in both.notes[0]


def test_place_and_flags_written(tmp_path):
    path = tmp_path / "v.mrc"
    with create_volume(path, (2, 3, 4), "uint8", VOXEL, place=Place((8, -4.5, 16))) as writer:
        writer[:1] = np.full((1, 3, 4), 200, np.uint8)
    with mrcfile.open(path) as mrc:
        assert mrc.header.origin.item() == (160.0, -45.0, 80.0)
        stamp, flags = np.frombuffer(mrc.header.extra2.tobytes(), "<i4", 2, 40)
        assert stamp.tobytes() == IMOD and flags == 1 + 4 + 8  # signed, origin as such, no rms
    assert mrcfile.validate(path)
    volume = open_volume(path)
    assert volume.notes == () and volume.place == Place((8, -4.5, 16))
    np.testing.assert_array_equal(
        volume[:], np.array([200, 0])[:, None, None] + np.zeros((1, 3, 4))
    )


def test_a_text_is_no_mrc(tmp_path):
    (tmp_path / "v.mrc").write_bytes(b"some text, long enough for a header\n" * 99)
    with pytest.raises(ValueError, match="got no MRC header"):
        open_volume(tmp_path / "v.mrc")
    (tmp_path / "v.mrc").write_bytes(b"")
    with pytest.raises(ValueError, match="got 0 bytes, wanted an MRC header"):
        open_volume(tmp_path / "v.mrc")
