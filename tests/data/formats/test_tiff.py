"""TIFF: who states the voxel size how, and how pages may lie."""

from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from emgauss_jax.data.formats import tiff
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 4.5, 5.25)
ARRAY = (np.arange(5 * 7 * 9) * 200).astype(np.uint16).reshape(5, 7, 9)


def _write(path):
    with create_volume(path, ARRAY.shape, ARRAY.dtype, VOXEL) as writer:
        writer[:] = ARRAY


def test_ome_metadata_as_another_reader_sees_them(tmp_path):
    _write(tmp_path / "v.ome.tif")
    with tifffile.TiffFile(tmp_path / "v.ome.tif") as tif:
        assert tif.is_ome and tif.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tif.asarray(), ARRAY)
        pixels = ElementTree.fromstring(tif.ome_metadata).find(".//{*}Pixels")
        tags = tif.pages[0].tags
        across = tags["XResolution"].value
    for axis, size in zip("ZYX", VOXEL, strict=True):
        assert float(pixels.get(f"PhysicalSize{axis}")) == size
        assert pixels.get(f"PhysicalSize{axis}Unit") == "nm"
    assert tags["ResolutionUnit"].value == 3  # centimetres, of 1e7 nm
    assert across[0] / across[1] == pytest.approx(1e7 / 5.25, rel=1e-6)


def test_imagej_metadata_as_another_reader_sees_them(tmp_path):
    _write(tmp_path / "v.tif")
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert tif.is_imagej and tif.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tif.asarray(), ARRAY)
        metadata, tags = tif.imagej_metadata, tif.pages[0].tags
        pixels = [tags[f"{axis}Resolution"].value for axis in "YX"]
    assert metadata["unit"] == "nm"
    assert metadata["spacing"] == 40.0
    assert [below / above for above, below in pixels] == pytest.approx([4.5, 5.25], rel=1e-6)


@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1e3), ("micron", 1e3), ("\\u00B5m", 1e3), ("nm", 1), ("mm", 1e6)]
)
def test_imagej_units(tmp_path, unit, factor):
    metadata = {"axes": "ZYX", "spacing": -0.5, "unit": unit}
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, imagej=True, metadata=metadata, resolution=(8, 4))
    volume = open_volume(tmp_path / "v.tif")
    assert volume.voxel_nm == pytest.approx((0.5 * factor, 0.25 * factor, 0.125 * factor))


@pytest.mark.parametrize("metadata", [{}, {"unit": "um"}, {"spacing": 2.0}])
def test_imagej_without_calibration(tmp_path, metadata):
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, imagej=True, metadata=metadata, resolution=(8, 4))
    with pytest.raises(ValueError, match="no voxel size"):
        open_volume(tmp_path / "v.tif")


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "CYX"])
def test_ome_unit_is_micrometre_by_default(tmp_path, axes):
    sizes = {"PhysicalSizeX": 0.004, "PhysicalSizeY": 0.005, "PhysicalSizeZ": 0.05}
    tifffile.imwrite(tmp_path / "v.ome.tif", ARRAY, metadata={"axes": axes, **sizes})
    volume = open_volume(tmp_path / "v.ome.tif")
    assert volume.voxel_nm == pytest.approx((50, 5, 4))
    np.testing.assert_array_equal(volume[:], ARRAY)


def test_ome_units_may_differ(tmp_path):
    sizes = {"PhysicalSizeX": 40, "PhysicalSizeXUnit": "Å", "PhysicalSizeY": 5}
    sizes |= {"PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 5e-5, "PhysicalSizeZUnit": "mm"}
    tifffile.imwrite(tmp_path / "v.ome.tif", ARRAY, metadata={"axes": "ZYX", **sizes})
    assert open_volume(tmp_path / "v.ome.tif").voxel_nm == pytest.approx((50, 5, 4))


def test_unknown_unit(tmp_path):
    metadata = {"axes": "ZYX", "spacing": 1, "unit": "furlong"}
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, imagej=True, metadata=metadata, resolution=(8, 4))
    with pytest.raises(ValueError, match="furlong"):
        open_volume(tmp_path / "v.tif")
    assert open_volume(tmp_path / "v.tif", voxel_nm=VOXEL).voxel_nm == VOXEL


def test_plain_resolution_says_nothing_about_z(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, resolution=(1e6, 1e6), resolutionunit="CENTIMETER")
    with pytest.raises(ValueError, match=r"--config\.data\.voxel_nm=z,y,x"):
        open_volume(tmp_path / "v.tif")


@pytest.mark.parametrize("shape", [(7, 9, 3), (5, 7, 9, 3)])
def test_colour(tmp_path, shape):
    tifffile.imwrite(tmp_path / "v.tif", np.zeros(shape, np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match="colour"):
        open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)


def test_one_image_is_no_volume(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", ARRAY[0])
    with pytest.raises(ValueError, match=r"\(7, 9\)"):
        open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metadata": None},
        {"compression": "zlib"},
        {"compression": "zlib", "rowsperstrip": 2},
        {"tile": (16, 16)},
        {"tile": (16, 16, 16), "volumetric": True},
        {"bigtiff": True},
    ],
    ids=str,
)
def test_layouts(tmp_path, options, dtype, byteorder):
    array = ARRAY.astype(dtype)
    tifffile.imwrite(tmp_path / "v.tif", array, byteorder=byteorder, **options)
    volume = open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)
    assert volume.dtype == np.dtype(dtype) and volume.dtype.isnative
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], array[1:4, 2:6, 3:9])


def test_predictor(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, compression="zlib", predictor=True)
    np.testing.assert_array_equal(open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)[:], ARRAY)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_written_one_by_one(tmp_path, compression):
    with tifffile.TiffWriter(tmp_path / "v.tif") as tif:
        for plane in ARRAY:
            tif.write(plane, contiguous=False, compression=compression)
    volume = open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)


def test_pyramid_is_read_at_level_0(tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.ome.tif") as tif:
        tif.write(ARRAY, subifds=1, metadata={"axes": "ZYX"})
        tif.write(ARRAY[:, ::2, ::2], subfiletype=1)
    volume = open_volume(tmp_path / "v.ome.tif", voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)


def _two_files(folder):
    """Slices 0 to 2 from one file, 3 and 4 from another, joined by OME metadata.

    Both files have five pages, at the same offsets: taken for one file they seem contiguous.
    """
    first, second = ARRAY.copy(), ARRAY.copy()
    first[3:], second[:3] = 0, 0
    files = {"a.ome.tif": first, "b.ome.tif": second}
    parts = [
        f'<TiffData FirstZ="{z}" IFD="{z}" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for z, name in enumerate(["a.ome.tif"] * 3 + ["b.ome.tif"] * 2)
    ]
    for name, planes in files.items():
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{name}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="7" SizeZ="5" SizeC="1" '
            'SizeT="1" PhysicalSizeX="0.004" PhysicalSizeY="0.005" PhysicalSizeZ="0.05">'
            f'<Channel ID="Channel:0:0"/>{"".join(parts)}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            folder / name, planes, description=xml, photometric="minisblack", metadata=None
        )
    return folder / "a.ome.tif"


@pytest.mark.filterwarnings("error", "ignore:Setting the shape:DeprecationWarning")  # by tifffile
def test_several_files(tmp_path):
    volume = open_volume(_two_files(tmp_path))
    assert volume.voxel_nm == pytest.approx((50, 5, 4))
    np.testing.assert_array_equal(volume[1:5, 1:4, 2:7], ARRAY[1:5, 1:4, 2:7])


def test_a_file_of_several_is_missing(tmp_path):
    path = _two_files(tmp_path)
    (tmp_path / "b.ome.tif").unlink()
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:3], ARRAY[:3])
    gone = r"slice 3 .* lies in b\.ome\.tif, which is not there: leave it out by data\.missing"
    with pytest.raises(ValueError, match=gone):
        volume[:]


def test_missing_codec(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, metadata=None)
    with tifffile.TiffFile(tmp_path / "v.tif", mode="r+") as tif:
        for page in tif.pages:
            page.tags["Compression"].overwrite(34887)  # LERC, which nothing here decodes
    with pytest.raises(ValueError, match=r"LERC.*pip install imagecodecs"):
        open_volume(tmp_path / "v.tif", voxel_nm=VOXEL)


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif"])
def test_past_4_gib_it_is_bigtiff_with_ome(tmp_path, monkeypatch, name):
    monkeypatch.setattr(tiff, "_CLASSIC_LIMIT", ARRAY.nbytes - 1)
    _write(tmp_path / name)
    with tifffile.TiffFile(tmp_path / name) as tif:
        assert tif.is_bigtiff and tif.is_ome
    volume = open_volume(tmp_path / name)
    assert volume.voxel_nm == VOXEL
    np.testing.assert_array_equal(volume[:], ARRAY)
