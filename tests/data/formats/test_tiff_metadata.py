"""TIFF: what OME and ImageJ say of sizes and places, right, wrong and in other files."""

import numpy as np
import pytest
import tifffile

from emgauss_jax.data.formats.interface import AT_ORIGIN, Place
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 8.0, 8.0)
ARRAY = (np.arange(12 * 7 * 9) % 251).astype(np.uint8).reshape(12, 7, 9)
FLAGS = r"--config\.data\.voxel_nm=z,y,x \(train\)"
STACK = ("images=12", "slices=12")


def _imagej(path, lines, resolution=(125.0, 125.0), resolutionunit=1):
    head = "\n".join(["ImageJ=1.53t", *lines, ""])
    options = {"resolution": resolution, "resolutionunit": resolutionunit}
    tifffile.imwrite(path, ARRAY, description=head.encode(), metadata=None, **options)
    return path


def _pixels(tiff_data="<TiffData/>", sizes="", depth=12, frames=1, width=9):
    return (
        f'<Image><Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="{width}" SizeY="7" '
        f'SizeZ="{depth}" SizeC="1" SizeT="{frames}" {sizes}>{tiff_data}</Pixels></Image>'
    )


def _ome(path, *images, array=ARRAY, uuid="a"):
    root = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">'
    xml = root + "".join(images) + "</OME>"
    options = {"metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(path, array, description=xml.encode(), **options)
    return path


def _sizes(z="0.04", unit=""):
    units = "".join(f' PhysicalSize{axis}Unit="{unit}"' for axis in "XYZ" if unit)
    return f'PhysicalSizeX="0.008" PhysicalSizeY="0.008" PhysicalSizeZ="{z}"{units}'


def _refused(path, match):
    with pytest.raises(ValueError, match=match) as caught:
        open_volume(path)
    message = str(caught.value)
    assert "\n" not in message and "--input_voxel_nm=z,y,x (reconstruct)" in message
    volume = open_volume(path, voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)
    return volume


@pytest.mark.parametrize(
    ("lines", "voxel"),
    [
        (("unit=micron", "yunit=micron", "zunit=nm", "spacing=40.0"), VOXEL),
        (("unit=nm", "yunit=pm", "zunit=um", "spacing=2"), (2000, 8e-6, 8e-3)),
        (("unit=micron", "spacing=0,04"), VOXEL),
        (("unit=micron", "spacing=-0,04"), VOXEL),
        (("unit=Âµm", "spacing=0.04"), VOXEL),
        (("unit=Î¼m", "spacing=0.04"), VOXEL),
        (("unit=inch", "spacing=1"), (2.54e7, 203200, 203200)),
    ],
    ids=str,
)
def test_imagej_sizes(tmp_path, lines, voxel):
    volume = open_volume(_imagej(tmp_path / "v.tif", (*STACK, *lines)))
    assert volume.voxel_nm == pytest.approx(voxel)
    comma = next((line.partition("=")[2] for line in lines if "," in line), None)
    assert volume.notes == (
        (f"spacing {comma} is read as {comma.replace(',', '.')}",) if comma else ()
    )


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (("unit=nm", "spacing=1,000"), "got spacing 1,000 nm in the file"),
        (("unit=nm", "spacing=NaN"), "got spacing nan nm in the file"),
        (("unit=nm", "spacing=wide"), "got spacing wide nm in the file"),
        (("unit=nm", "spacing=0.0"), r"\(px are 0.008 x 0.008 nm \(y, x\), no spacing of slices\)"),
        (("unit=?m", "spacing=1"), r"got unit '\?m'"),
        (("unit=micron", "zunit=pixel", "spacing=1"), "got no voxel size, wanted"),
    ],
    ids=str,
)
def test_imagej_without_a_size(tmp_path, lines, match):
    _refused(_imagej(tmp_path / "v.tif", (*STACK, *lines)), match)


@pytest.mark.parametrize("interval", ["10", "0,5"])
def test_a_time_is_no_distance(tmp_path, interval):
    frames = ("images=12", "frames=12", "unit=micron", "spacing=1.0")
    path = _imagej(tmp_path / "v.tif", (*frames, f"finterval={interval}"))
    _refused(path, f"frames that follow in time, finterval {interval}")
    stills = open_volume(_imagej(tmp_path / "w.tif", (*frames, "finterval=0.0")))
    assert stills.voxel_nm == pytest.approx((1000, 8, 8))
    ome = _pixels(sizes=_sizes() + f' TimeIncrement="{interval}"', depth=1, frames=12)
    _refused(_ome(tmp_path / "v.ome.tif", ome), f"TimeIncrement {interval}")


@pytest.mark.parametrize(
    ("tag", "unit", "said"), [(2, "nm", "inch"), (3, "um", "cm"), (3, "cm", "")]
)
def test_a_resolution_tag_that_contradicts_imagej(tmp_path, tag, unit, said):
    path = _imagej(tmp_path / "v.tif", (*STACK, f"unit={unit}", "spacing=1"), resolutionunit=tag)
    assert [note.rpartition(" ")[2] for note in open_volume(path).notes] == [said] * bool(said)


def test_resolution_of_a_plain_stack_is_told(tmp_path):
    options = {"resolution": (1e6, 2e6), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, **options)
    _refused(tmp_path / "v.tif", r"by its resolution px are 5 x 10 nm \(y, x\), z is not said")


@pytest.mark.parametrize(
    ("unit", "voxel"),
    [
        ("", VOXEL),
        ("Âµm", VOXEL),
        ("\u03bcm", VOXEL),
        ("micrometer", VOXEL),
        ("mil", (1016, 203.2, 203.2)),
        ("inch", (1016000, 203200, 203200)),
        ("in", (1016000, 203200, 203200)),
    ],
)
def test_ome_units(tmp_path, unit, voxel):
    volume = open_volume(_ome(tmp_path / "v.ome.tif", _pixels(sizes=_sizes(unit=unit))))
    assert volume.voxel_nm == pytest.approx(voxel) and volume.notes == ()


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "?m", "furlong"])
def test_ome_units_that_are_no_length(tmp_path, unit):
    path = _ome(tmp_path / "v.ome.tif", _pixels(sizes=_sizes(unit=unit)))
    _refused(path, f"got unit {unit!r}".replace("?", r"\?"))


@pytest.mark.parametrize("z", ["0.0", "0", "NaN", "-0.04", "INF", "1,000", "x", ""])
def test_ome_sizes_that_are_none(tmp_path, z):
    path = _ome(tmp_path / "v.ome.tif", _pixels(sizes=_sizes(z)))
    _refused(path, f"voxel size: got PhysicalSizeZ {z} µm in the file, wanted a positive .*{FLAGS}")


@pytest.mark.parametrize("z", ["0,04", "0,040", "4,0e-2"])
def test_ome_comma(tmp_path, z):
    volume = open_volume(_ome(tmp_path / "v.ome.tif", _pixels(sizes=_sizes(z))))
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert volume.notes == (f"PhysicalSizeZ {z} is read as 0.04",)


def test_ome_without_z_or_without_all(tmp_path):
    sizes = _sizes().replace('PhysicalSizeZ="0.04"', "")
    path = _ome(tmp_path / "v.ome.tif", _pixels(sizes=sizes))
    _refused(path, "PhysicalSizeY is 8 nm, PhysicalSizeX is 8 nm")
    _refused(_ome(tmp_path / "w.ome.tif", _pixels()), f"got no voxel size, wanted .*{FLAGS}")


def _planes(name, depth=6, first=0):
    return (
        f'<TiffData FirstZ="{first}" IFD="0" PlaneCount="{depth}">'
        f'<UUID FileName="{name}">{name}</UUID></TiffData>'
    )


def _binary_only(path, array):
    return _ome(path, '<BinaryOnly MetadataFile="x.companion.ome" UUID="c"/>', array=array)


def test_a_companion_holds_the_header_of_two_files(tmp_path):
    for name, planes in (("a.ome.tif", ARRAY[:6]), ("b.ome.tif", ARRAY[6:])):
        _binary_only(tmp_path / name, planes)
    images = _pixels(_planes("a.ome.tif") + _planes("b.ome.tif", first=6), _sizes())
    (tmp_path / "x.companion.ome").write_text(f'<OME UUID="c">{images}</OME>')
    for name in ("a.ome.tif", "b.ome.tif"):
        volume = open_volume(tmp_path / name)
        assert volume.voxel_nm == pytest.approx(VOXEL) and volume.notes == ()
        np.testing.assert_array_equal(volume[4:8, 1:3], ARRAY[4:8, 1:3])
    (tmp_path / "b.ome.tif").unlink()
    volume = open_volume(tmp_path / "a.ome.tif")
    assert volume.notes == ("6 slices cannot be read: b.ome.tif is not there",)
    np.testing.assert_array_equal(volume[:6], ARRAY[:6])
    with pytest.raises(ValueError, match="slice 6"):
        volume[:]


def test_a_file_of_several_is_unlike_the_others(tmp_path):
    images = _pixels(_planes("a.ome.tif") + _planes("b.ome.tif", first=6), _sizes())
    _ome(tmp_path / "a.ome.tif", images, array=ARRAY[:6], uuid="a.ome.tif")
    _ome(tmp_path / "b.ome.tif", images, array=ARRAY[6:].astype(np.uint16), uuid="b.ome.tif")
    with pytest.raises(ValueError, match=r"b\.ome\.tif: got 7 x 9 uint16, wanted 7 x 9 uint8"):
        open_volume(tmp_path / "a.ome.tif")


def test_the_companion_is_not_there(tmp_path):
    path = _binary_only(tmp_path / "v.ome.tif", ARRAY)
    volume = _refused(path, r"the OME header lies in x\.companion\.ome")
    assert "x.companion.ome, which is not there" in volume.notes[0] and len(volume.notes) == 1


def test_of_many_positions_the_files_own_is_read(tmp_path):
    names = ("a.ome.tif", "b.ome.tif")
    images = [_pixels(_planes(name, 12), _sizes()) for name in names]
    for value, name in enumerate(names):
        _ome(tmp_path / name, *images, array=ARRAY + np.uint8(value), uuid=name)
    for value, name in enumerate(names):
        volume = open_volume(tmp_path / name)
        np.testing.assert_array_equal(volume[:], ARRAY + np.uint8(value))
        assert volume.notes[0].startswith(f"left out of the file's images: {1 - value}: 12 x 7")


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (_pixels(sizes=_sizes(), width=18), "describes another image"),
        (_pixels(sizes=_sizes()).replace("</Pixels>", ""), "cannot be read"),
    ],
)
def test_an_ome_header_that_does_not_fit(tmp_path, image, why):
    volume = _refused(_ome(tmp_path / "v.ome.tif", image), "the OME header does not fit the pages")
    assert volume.notes == (
        f"pages are taken in their order in this file alone: the OME header {why}",
    )


def test_a_renamed_file(tmp_path):
    image = _pixels(_planes("old.ome.tif", 12), _sizes())
    volume = open_volume(_ome(tmp_path / "v.ome.tif", image))
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.voxel_nm == pytest.approx(VOXEL)


@pytest.mark.parametrize("depth", [1, 6])
def test_ome_of_fewer_slices_than_pages(tmp_path, depth):
    data = f'<TiffData IFD="0" PlaneCount="{depth}"/>'
    volume = open_volume(_ome(tmp_path / "v.ome.tif", _pixels(data, _sizes(), depth)))
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.voxel_nm == pytest.approx(VOXEL)
    assert volume.notes[0].startswith(f"the header says {depth} slices, the file holds 12 pages")


@pytest.mark.parametrize("data", ["<TiffData/>", '<TiffData IFD="0" PlaneCount="12"/>'])
def test_ome_of_more_slices_than_pages(tmp_path, data):
    path = _ome(tmp_path / "v.ome.tif", _pixels(data, _sizes()), array=ARRAY[:10])
    with pytest.raises(ValueError, match="got 10 planes, the OME header promises 12"):
        open_volume(path)


@pytest.mark.parametrize(
    ("attributes", "centre", "ignored"),
    [
        ('PositionX="3" PositionXUnit="nm" PositionZ="0.1" PositionZUnit="µm"', (100, 0, 3), ""),
        ('PositionY="0,002" PositionYUnit="mm"', (0, 2000, 0), ""),
        ('PositionX="3" PositionY="4"', (0, 0, 0), "PositionY, PositionX"),
        ('PositionX="0" PositionY="0"', (0, 0, 0), ""),
        ('PositionZ="NaN" PositionZUnit="nm"', (0, 0, 0), "PositionZ"),
    ],
)
def test_ome_position(tmp_path, attributes, centre, ignored):
    later = '<Plane TheZ="1" TheC="0" TheT="0" PositionX="77" PositionXUnit="mm"/>'
    first = f'<Plane TheZ="0" TheC="0" TheT="0" {attributes}/>'
    path = _ome(tmp_path / "v.ome.tif", _pixels("<TiffData/>" + later + first, _sizes()))
    volume = open_volume(path)
    assert volume.place.centre_nm == pytest.approx(centre)
    want = (f"{ignored}: no length in the file, 0 is taken",) if ignored else ()
    assert volume.notes == want


def _plane(z, depth, more="", unit="nm"):
    units = f'PositionZ="{depth}" PositionZUnit="{unit}"'
    return f'<Plane TheZ="{z}" TheC="0" TheT="0" {units} {more}/>'


UNEVEN = "PositionZ of the planes is not evenly 40 nm apart ({}): PhysicalSizeZ is used"
FALLS = "PositionZ falls from plane to plane: the place of the first plane is kept"


@pytest.mark.parametrize(
    ("depths", "said"),
    [
        ([100 + 40 * z for z in range(12)], []),
        ([100 + 40.3 * z for z in range(12)], []),
        ([100] * 12, []),
        ([100, None, 180, None, 260], []),
        ([100], []),
        ([100, *(180 + 40 * z for z in range(10)), 660], [UNEVEN.format("40 to 120")]),
        ([100 + 50 * z for z in range(12)], [UNEVEN.format("50 to 50")]),
        ([500 - 40 * z for z in range(12)], [FALLS]),
        ([500 - 20 * z for z in range(12)], [FALLS, UNEVEN.format("20 to 20")]),
        ([0, 40, 0, 40], [UNEVEN.format("-40 to 40")]),
    ],
)
def test_positions_of_the_planes_along_z(tmp_path, depths, said):
    planes = [_plane(z, depth) for z, depth in enumerate(depths) if depth is not None]
    data = "<TiffData/>" + "".join(reversed(planes))
    volume = open_volume(_ome(tmp_path / "v.ome.tif", _pixels(data, _sizes())))
    assert volume.place.centre_nm[0] == depths[0] and volume.voxel_nm == pytest.approx(VOXEL)
    assert len(volume.notes) == len(said), volume.notes
    assert all(note.startswith(text) for note, text in zip(volume.notes, said, strict=True))


def test_depths_of_no_length_or_of_other_channels_are_not_compared(tmp_path):
    planes = "".join(_plane(z, 7 * z, unit="reference frame") for z in range(12))
    channels = "".join(_plane(z, 7 * z).replace('C="0"', 'C="1"') for z in range(12))
    for data in (planes, channels):
        path = _ome(tmp_path / "v.ome.tif", _pixels("<TiffData/>" + data, _sizes()))
        assert open_volume(path).notes == ()


def test_imagej_origin_counts_voxels(tmp_path):
    lines = (*STACK, "unit=micron", "spacing=0.04", "xorigin=10", "yorigin=-2,5", "zorigin=3")
    path = _imagej(tmp_path / "v.tif", lines)
    assert open_volume(path).place.centre_nm == pytest.approx((-120, 20, -80))
    other = open_volume(path, voxel_nm=(30, 5, 4))
    assert other.place.centre_nm == pytest.approx((-90, 12.5, -40))


@pytest.mark.parametrize("name", ["v.ome.tif", "v.tif", "v.btf"])
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (1200.0, -32.5, 16.0)])
def test_a_place_is_written(tmp_path, name, centre):
    place = Place(centre)
    with create_volume(tmp_path / name, ARRAY.shape, "uint8", VOXEL, place=place) as writer:
        writer[:] = ARRAY
    volume = open_volume(tmp_path / name)
    assert volume.place.centre_nm == pytest.approx(centre) and volume.notes == ()
    np.testing.assert_array_equal(volume[:], ARRAY)
    with tifffile.TiffFile(tmp_path / name) as tif:  # as another reader sees it
        if tif.is_imagej:
            found = [tif.imagej_metadata.get(f"{axis}origin", 0) for axis in "zyx"]
            assert found == pytest.approx([-c / v for c, v in zip(centre, VOXEL, strict=True)])
            return
        planes = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"].get("Plane", [])
    if place == AT_ORIGIN:
        assert not planes
        return
    assert [plane["TheZ"] for plane in planes] == list(range(12))
    assert planes[3]["PositionZ"] == pytest.approx(centre[0] + 3 * 40)
    assert planes[3]["PositionX"] == pytest.approx(centre[2])
    assert planes[3]["PositionYUnit"] == "nm"
