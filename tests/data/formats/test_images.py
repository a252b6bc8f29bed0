"""One image per slice: order, gaps, what is ignored, and what is refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from emgauss_jax.data.volume import create_volume, open_volume, output_suffix

VOXEL = (40.0, 8.0, 8.0)
ARRAY = (np.arange(12 * 7 * 9) % 251).astype(np.uint8).reshape(12, 7, 9)
WIDE = ARRAY.astype(np.uint16) * 200


def _save(path, array, **options):
    path.parent.mkdir(exist_ok=True)
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif path.suffix.lower() == ".png":
        Image.fromarray(array).save(path, **options)
    else:
        colour = "rgb" if array.shape[-1] == 3 else "minisblack"
        tifffile.imwrite(path, array, **{"photometric": colour, **options})


def _folder(folder, name="slice_{}.tif", array=ARRAY, **changed):
    """Save every slice as one file; `changed` has other contents by the slice's number."""
    for z, image in enumerate(array):
        _save(folder / name.format(z), changed.get(f"z{z}", image))
    return folder


def _read(path, array, notes=()):
    volume = open_volume(path, voxel_nm=VOXEL)
    assert volume.format == "images" and volume.dtype == array.dtype
    np.testing.assert_array_equal(volume[:], array)
    np.testing.assert_array_equal(volume[1:5, 2:6, 3:4], array[1:5, 2:6, 3:4])
    assert len(volume.notes) == len(notes)
    assert all(word in note for word, note in zip(notes, volume.notes, strict=True))
    return volume


def _refused(path, match, **options):
    with pytest.raises(ValueError, match=match) as caught:
        open_volume(path, **{"voxel_nm": VOXEL, **options})
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("array", [ARRAY, WIDE], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize(
    "name", ["slice_{}.tif", "s{:03d}.TIFF", "{}.png", "2024_05_s{:05d}_8nm.PNG"]
)
def test_a_folder_in_the_order_of_its_numbers(tmp_path, name, array):
    volume = _read(_folder(tmp_path / "data", name, array), array)
    assert output_suffix(volume) == ".ome.tif"


def test_a_pattern(tmp_path):
    _folder(tmp_path / "data")
    _folder(tmp_path / "data", "other_{}.tif", WIDE)
    _read(tmp_path / "data" / "slice_*.tif", ARRAY)
    _read(tmp_path / "data" / "other_[0-7].tif", WIDE[:8])
    _refused(tmp_path / "data" / "gone_*.tif", "got no files and no image among them, wanted some")
    _refused(tmp_path / "data", "names differ in more than a rising number, from other_0.tif to ")


def test_what_is_no_image_is_passed_over(tmp_path):
    folder = _folder(tmp_path / "data")
    for name in ("Thumbs.db", "._slice_1.tif", ".hidden.tif", "notes.txt", "slice_1.tif.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "slice_99.tif").mkdir()
    _read(folder, ARRAY)
    _read(folder / "*", ARRAY)
    _refused(folder / "*.txt", "got 2 files and no image among them")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([0, 1, 2, 4, 5, 6, 9, 10, 11, 12, 13, 14], ["no image has number 3, 7 to 8: "]),
        (range(0, 120, 10), []),
        (range(5, 17), []),
        ([0, 10, 20, 30, 40, 60, 70, 80, 90, 100, 110, 120], ["no image has number 50: "]),
    ],
    ids=str,
)
def test_gaps_in_the_numbers(tmp_path, numbers, said):
    for image, number in zip(ARRAY, numbers, strict=True):
        _save(tmp_path / "data" / f"s{number}.tif", image)
    _read(tmp_path / "data", ARRAY, said)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"c{z // 6}_z{z % 6}" for z in range(12)], "from c0_z0.tif to c1_z5.tif"),
        (["mask", *(f"s{z:02d}" for z in range(11))], "from mask.tif to s10.tif"),
        ([f"s{z}" for z in range(11)] + ["s00010"], "from s0.tif to"),
        (list("abcdefghijkl"), "from a.tif to l.tif"),
        ([f"{20240501 + z}_s{z * 5 % 12}" for z in range(12)], "rise in different orders, from 2"),
        ([f"sec_{z}_z{12 - z}" for z in range(12)], "orders, from sec_0_z12.tif to sec_11_z1"),
        ([f"t{z // 2}_c{z % 2}_{z}" for z in range(12)], "rise in different orders, from t0_c0_0"),
    ],
    ids=["numbers", "a word", "a number twice", "letters", "dates", "down", "channels"],
)
def test_names_that_may_be_several_stacks(tmp_path, names, message):
    for image, name in zip(ARRAY, names, strict=True):
        _save(tmp_path / "data" / f"{name}.tif", image)
    _refused(tmp_path / "data", message)
    volume = open_volume(tmp_path / "data" / "*.tif", voxel_nm=VOXEL)  # the user has chosen
    assert volume.shape == ARRAY.shape
    assert "slices are taken in this order" in volume.notes[0]


def test_of_several_numbers_the_one_that_counts(tmp_path):
    for z, image in enumerate(ARRAY):
        _save(tmp_path / "data" / f"20240512_{101010 + 10 * z + z % 3}_s{z:03d}.tif", image)
    _read(tmp_path / "data", ARRAY)


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize(
    ("odd", "got"), [(ARRAY[3, :, :-2], "7 x 7 uint8"), (WIDE[3], "7 x 9 uint16")]
)
@pytest.mark.parametrize("at", [0, 7])
def test_an_odd_image_is_named(tmp_path, suffix, odd, got, at):
    folder = _folder(tmp_path / "data", "s{}." + suffix, **{f"z{at}": odd})
    _refused(folder, f"s{at}.{suffix}: got {got}, wanted 7 x 9 uint8 as in 11 of 12 images")


COLOUR = np.zeros((7, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "image", "match"),
    [
        ("s{}.tif", ARRAY[:4], "s2.tif: got 4 pages of 7 x 9 uint8, wanted one slice in a file"),
        ("s{}.tif", COLOUR, "s2.tif: got 7 x 9 uint8, 3 samples, wanted a grey image"),
        ("s{}.tif", b"II*\0", "s2.tif: cannot be read"),
        ("s{}.png", COLOUR, "s2.png: got a PNG of mode RGB, wanted grey without transparency"),
        ("s{}.png", COLOUR[..., :2], "s2.png: got a PNG of mode LA"),
        ("s{}.png", b"\x89PNG\r\n", "s2.png: cannot be read"),
    ],
)
def test_images_that_are_no_slice(tmp_path, name, image, match):
    _refused(_folder(tmp_path / "data", name, z2=image), match)


def test_a_thumbnail_in_the_file_of_a_slice(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for z, image in enumerate(ARRAY):
        with tifffile.TiffWriter(folder / f"s{z}.tif") as tif:
            tif.write(image, metadata=None)
            tif.write(image[::2, ::2].copy(), subfiletype=1, metadata=None)
    _read(folder, ARRAY)


def test_two_suffixes(tmp_path):
    folder = _folder(tmp_path / "data", "s{}.png")
    _save(folder / "s12.tif", ARRAY[0])
    _refused(folder, r"images with suffix \.png and \.tif, wanted one")
    _read(folder / "*.png", ARRAY)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_an_image_cut_off(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (4, 40, 50), np.uint8)
    folder = _folder(tmp_path / "data", "s{}." + suffix, noise)
    path = folder / f"s2.{suffix}"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=rf"s2\.{suffix}: "):
        open_volume(folder, voxel_nm=VOXEL)[:]


def test_only_the_slices_of_a_box_are_opened(tmp_path):
    folder = _folder(tmp_path / "data", "s{}.png")
    volume = open_volume(folder, voxel_nm=VOXEL)
    (folder / "s5.png").unlink()
    np.testing.assert_array_equal(volume[6:9], ARRAY[6:9])
    with pytest.raises(ValueError, match=r"s5\.png"):
        volume[5:6]


def test_grey_of_png(tmp_path):
    _read(
        _folder(tmp_path / "bits", "s{}.png", ARRAY > 99),
        (ARRAY > 99).astype(np.uint8) * np.uint8(255), ["bool is read as uint8"],
    )  # fmt: skip
    (tmp_path / "palette").mkdir()
    for z, image in enumerate(ARRAY):
        png = Image.fromarray(image)
        png.putpalette(np.repeat(np.arange(256)[::-1], 3).tolist())
        png.save(tmp_path / "palette" / f"s{z}.png")
    _read(tmp_path / "palette", 255 - ARRAY, ["the palette is inverted"])


def test_grey_of_tiff(tmp_path):
    for z, image in enumerate(ARRAY):
        _save(tmp_path / "data" / f"s{z}.tif", 255 - image, photometric="miniswhite")
    _read(tmp_path / "data", ARRAY, ["white is stored as 0"])


def _imagej(folder, spacings):
    for z, (image, spacing) in enumerate(zip(ARRAY, spacings, strict=True)):
        metadata = {"unit": "um"} | ({"spacing": spacing} if spacing else {})
        options = {"imagej": True, "resolution": (125, 125), "metadata": metadata}
        _save(folder / f"s{z}.tif", image, **options)
    return folder


def test_a_voxel_size_that_all_images_state(tmp_path):
    volume = open_volume(_imagej(tmp_path / "data", [0.04] * 12))
    assert volume.voxel_nm == pytest.approx(VOXEL)


SIGNED = ("cf=0", "c0=-32768", "c1=1")
LINE = ("cf=0", "c0=0", "c1=0.5")


def _calibrated(folder, *lines, array=WIDE):
    """Save slices with these lines of ImageJ's header; the last stand for all further slices."""
    for z, image in enumerate(array):
        head = "\n".join(["ImageJ=1.53t", "images=1", *lines[min(z, len(lines) - 1)], ""])
        options = {"resolution": (1 / 8, 1 / 8), "resolutionunit": 1}
        description = head.encode()
        _save(folder / f"s{z}.tif", image, metadata=None, description=description, **options)
    return folder


def test_imagej_calibrates_a_folder_as_a_file(tmp_path):
    signed = (WIDE.astype(np.int32) - 32768).astype(np.int16)
    _read(_calibrated(tmp_path / "a", SIGNED), signed, ["signed 16 bit is read as int16"])
    note = "raw values are read: ImageJ's calibration of them (cf=0, c0=0, c1=0.5)"
    _read(_calibrated(tmp_path / "b", LINE), WIDE, [note])
    more = "11 images have another calibration by ImageJ than s0.tif"
    _read(_calibrated(tmp_path / "c", LINE, ()), WIDE, [note, more])
    odd = _calibrated(tmp_path / "d", SIGNED, SIGNED, ())
    _refused(odd, r"s2\.tif: got uint16 by ImageJ's calibration, wanted int16 as in s0\.tif")


def test_a_folder_lies_where_its_first_slice_does(tmp_path):
    size = ("unit=nm", "spacing=40")
    first = (*size, "xorigin=10", "yorigin=-2,5", "zorigin=3")
    volume = open_volume(_calibrated(tmp_path / "a", first, (*size, "xorigin=7")))
    assert volume.place.centre_nm == pytest.approx((-3 * 40, 2.5 * 8, -10 * 8))
    for z, image in enumerate(ARRAY):
        position = {"PositionX": 3.0, "PositionXUnit": "nm", "PositionZ": 100.0 + 40 * z}
        metadata = {"axes": "YX", "Plane": {**position, "PositionZUnit": "nm"}}
        _save(tmp_path / "b" / f"s{z}.ome.tif", image, ome=True, metadata=metadata)
    assert open_volume(tmp_path / "b", voxel_nm=VOXEL).place.centre_nm == (100, 0, 3)
    assert open_volume(_folder(tmp_path / "c"), voxel_nm=VOXEL).place.centre_nm == (0, 0, 0)


def test_brackets_in_the_name_of_a_folder(tmp_path):
    folder = _folder(tmp_path / "br[1]")
    _refused(folder / "s*.tif", r"got no files .*; \[ \] is part of the pattern: .* write \[\[\]")
    _read(tmp_path / "br[[]1]" / "s*.tif", ARRAY)
    with pytest.raises(ValueError, match=r"got no files .*\.png$"):
        open_volume(tmp_path / "gone_*.tif", voxel_nm=VOXEL)


def test_no_voxel_size(tmp_path):
    message = r"no voxel size.*--config\.data\.voxel_nm=z,y,x"
    _refused(_folder(tmp_path / "a"), message, voxel_nm=None)
    _refused(_folder(tmp_path / "b", "s{}.png"), message, voxel_nm=None)
    some = _imagej(tmp_path / "c", [0.04] * 5 + [None] + [0.04] * 6)
    _refused(some, r"s5\.tif: got no voxel size \(px are 8 x 8 nm \(y, x\)", voxel_nm=None)
    unlike = _imagej(tmp_path / "d", [0.04] * 11 + [0.05])
    _refused(unlike, message, voxel_nm=None)
    for z, image in enumerate(ARRAY):
        options = {"resolution": (1e6, 1e6), "resolutionunit": "CENTIMETER"}
        _save(tmp_path / "e" / f"s{z}.tif", image, **options)
    _refused(tmp_path / "e", r"px are 10 x 10 nm \(y, x\), z is not said", voxel_nm=None)


def test_it_is_read_and_not_written(tmp_path):
    with pytest.raises(ValueError, match="format: got images"):
        create_volume(tmp_path / "v.tif", (1, 2, 3), "uint8", VOXEL, format="images")
    _refused(_folder(tmp_path / "data"), "dataset: got '0', wanted none", dataset="0")
    _refused(tmp_path / "data", "series: got 0, wanted none: images", series=0)
