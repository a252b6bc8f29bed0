"""Grey levels come out as a viewer shows them, and types go back as they came."""

import numpy as np
import pytest
import tifffile

from emgauss_jax.data.formats.grey import inverted, unchanged
from emgauss_jax.data.formats.tiff import FORMAT
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 8.0, 8.0)
VALUES = np.arange(5 * 7 * 9).reshape(5, 7, 9)
RAMP = np.arange(256, dtype=np.uint16)
IMAGEJ = "ImageJ=1.53t\nimages=5\nslices=5\nunit=nm\nspacing=40\n"
SIGNED = "cf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n"


def _of(dtype):
    return VALUES > 99 if dtype == "bool" else (VALUES * 201 - 7).astype(dtype)


def _read(path, want, words=()):
    volume = open_volume(path, voxel_nm=VOXEL)
    assert volume.dtype == want.dtype and volume.dtype.isnative
    np.testing.assert_array_equal(volume[:], want)
    np.testing.assert_array_equal(volume[1:3, 2:7, 3:5], want[1:3, 2:7, 3:5])
    assert len(volume.notes) == len(words)
    assert all(word in note for word, note in zip(words, volume.notes, strict=True))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int8", "int16", "bool"])
def test_white_stored_as_zero(tmp_path, dtype, options):
    array = _of(dtype)
    # the greatest of the type less the value; a signed type is turned over about -0.5
    top = -1 if dtype[0] == "i" else 1 if dtype == "bool" else np.iinfo(dtype).max
    stored = (top - array.astype(np.int64)).astype(dtype)
    tifffile.imwrite(tmp_path / "v.tif", stored, photometric="miniswhite", **options)
    words = ["white is stored as 0"]
    if dtype == "bool":
        array, words = array.astype(np.uint8) * np.uint8(255), [*words, "bool is read as uint8"]
    _read(tmp_path / "v.tif", array, words)


def test_white_stored_as_zero_in_ome_is_written_the_other_way(tmp_path):
    array = _of("uint8")
    options = {"photometric": "miniswhite", "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "v.ome.tif", 255 - array, **options)
    with create_volume(tmp_path / "w.ome.tif", array.shape, "uint8", VOXEL) as writer:
        writer[:] = open_volume(tmp_path / "v.ome.tif", voxel_nm=VOXEL)[:]
    with tifffile.TiffFile(tmp_path / "w.ome.tif") as tif:
        assert tif.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK
        np.testing.assert_array_equal(tif.asarray(), array)


def test_white_of_fewer_bits_than_the_type():
    stored = np.array([0, 1000, 4095], np.uint16)
    grey = inverted(unchanged(stored.dtype), 12)
    assert grey.levels(stored).tolist() == [4095, 3095, 0]


def test_white_of_floating_point(tmp_path):
    array = _of("float32")
    tifffile.imwrite(tmp_path / "v.tif", array, photometric="miniswhite")
    with pytest.raises(ValueError, match=r"got float32 whose white is 0 \(WhiteIsZero\)"):
        open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)


def test_without_photometric_black_is_zero(tmp_path):
    path, array = tmp_path / "v.tif", _of("uint8")
    tifffile.imwrite(path, array, photometric="miniswhite", metadata=None)
    with tifffile.TiffFile(path) as tif:
        tags = [page.tags["PhotometricInterpretation"].offset for page in tif.pages]
    data = bytearray(path.read_bytes())
    for at in tags:
        data[at : at + 2] = (65001).to_bytes(2, "little")  # a private tag in its place
    path.write_bytes(data)
    _read(path, array)


@pytest.mark.parametrize(
    ("palette", "levels", "words"),
    [
        (RAMP * 256, RAMP, []),
        (RAMP * 257, RAMP, []),
        (RAMP, RAMP, []),  # of writers that fill in 8 bits
        (RAMP[::-1] * 257, RAMP[::-1], ["the palette is inverted"]),
        (RAMP**2, RAMP**2 >> 8, ["grey levels of the palette"]),
    ],
    ids=["256", "257", "8 bit", "inverted", "curve"],
)
def test_palette(tmp_path, palette, levels, words):
    array, colours = _of("uint8"), np.repeat(palette[np.newaxis], 3, 0)
    tifffile.imwrite(tmp_path / "v.tif", array, photometric="palette", colormap=colours)
    _read(tmp_path / "v.tif", levels[array].astype(np.uint8), words)
    colours[1] = colours[1, ::-1]
    tifffile.imwrite(tmp_path / "v.tif", array, photometric="palette", colormap=colours)
    with pytest.raises(ValueError, match="palette of colours"):
        open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)


def test_palette_of_16_bit(tmp_path):
    array = _of("uint16")
    colours = np.repeat(np.arange(65536, dtype=np.uint16)[np.newaxis, ::-1], 3, 0)
    tifffile.imwrite(tmp_path / "v.tif", array, photometric="palette", colormap=colours)
    _read(tmp_path / "v.tif", 65535 - array, ["the palette is inverted"])


def _imagej(path, array, lines, **options):
    head = {"description": IMAGEJ + lines, "metadata": None, "resolutionunit": 1}
    options = {"photometric": "minisblack", "resolution": (1 / 8, 1 / 8), **head, **options}
    tifffile.imwrite(path, array, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}], ids=str)
@pytest.mark.parametrize("comma", [False, True])
def test_signed_16_bit_of_imagej(tmp_path, options, comma):
    true = (VALUES * 150 - 20000).astype(np.int16)
    stored = (true.astype(np.int32) + 32768).astype(np.uint16)
    lines = SIGNED.replace(".", ",") if comma else SIGNED
    path = _imagej(tmp_path / "v.tif", stored, lines, **options)
    _read(path, true, ["signed 16 bit is read as int16"])
    with create_volume(tmp_path / "w.ome.tif", true.shape, "int16", VOXEL) as writer:
        writer[:] = open_volume(path)[:]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "w.ome.tif"), true)
    # what a viewer shows black is the greatest, turned over: -1 - v
    path = _imagej(tmp_path / "u.tif", stored, lines, photometric="miniswhite", **options)
    _read(path, -1 - true, ["white is stored as 0", "read as int16"])


@pytest.mark.parametrize(
    ("dtype", "lines", "said"),
    [
        ("uint16", "cf=0\nc0=10\nc1=0.5\n", "(cf=0, c0=10, c1=0.5)"),
        ("uint8", "cf=0\nc0=-32768.0\nc1=1.0\n", "(cf=0, c0=-32768.0, c1=1.0)"),
        ("uint8", "cf=1\nc0=1\nc1=2\nc2=3\n", "(cf=1, c0=1, c1=2, c2=3)"),
        ("uint8", "cf=0\nc0=0\nc1=1\n", None),
        ("uint8", "cf=20\n", None),
    ],
)
def test_other_calibrations_are_not_applied(tmp_path, dtype, lines, said):
    array = _of(dtype)
    path = _imagej(tmp_path / "v.tif", array, lines)
    _read(
        path, array, [f"raw values are read: ImageJ's calibration of them {said}"] if said else []
    )


@pytest.mark.parametrize("name", ["v.ome.tif", "v.tif", "v.TIFF", "v.btf", "v.tf2", "v.ome.tf8"])
@pytest.mark.parametrize("dtype", FORMAT.dtypes)
def test_every_type_goes_back_as_it_came(tmp_path, name, dtype):
    array, path = _of(dtype), tmp_path / name
    with create_volume(path, array.shape, dtype, VOXEL) as writer:
        writer[:] = array
    _read(path, array)
    assert open_volume(path).voxel_nm == pytest.approx(VOXEL)
    with tifffile.TiffFile(path) as tif:
        np.testing.assert_array_equal(tif.asarray(), array)
        assert tif.is_bigtiff == name.endswith((".btf", ".tf2", ".tf8"))
        simple = name.lower() in ("v.tif", "v.tiff") and dtype in ("uint8", "uint16", "float32")
        assert tif.is_imagej if simple else tif.is_ome


def test_half_precision_is_read_as_single(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", _of("float16"))
    _read(tmp_path / "v.tif", _of("float16").astype(np.float32), ["float16 is read as float32"])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_one_bit(tmp_path, compression):
    path, levels = tmp_path / "v.tif", _of("bool").astype(np.uint8) * np.uint8(255)
    tifffile.imwrite(path, _of("bool"), compression=compression, photometric="minisblack")
    _read(path, levels, ["bool is read"])
    tifffile.imwrite(path, _of("bool"), compression=compression)  # tifffile marks white as zero
    _read(path, 255 - levels, ["white is stored as 0", "bool is read"])


@pytest.mark.parametrize("samples", [2, 5])
def test_samples_that_are_no_colour(tmp_path, samples):
    array = np.zeros((4, 7, 9, samples), np.uint8)
    options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(tmp_path / "v.tif", array, **options)
    with pytest.raises(ValueError, match=f"got {samples} samples per pixel, wanted one") as caught:
        open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)
    assert "colour" not in str(caught.value)


def test_colour_of_three_equal_channels(tmp_path):
    grey = np.repeat(_of("uint8")[..., np.newaxis], 3, -1)
    tifffile.imwrite(tmp_path / "v.tif", grey, photometric="rgb")
    with pytest.raises(ValueError, match=r"3 samples per pixel.*also where its colours are equal"):
        open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)
