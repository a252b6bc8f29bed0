"""TIFF: all pages of a file are held against its header, and against each other."""

import numpy as np
import pytest
import tifffile

from emgauss_jax.data.opening import open_stack
from emgauss_jax.data.volume import open_volume
from emgauss_jax.execution.config_file import changed, load_config

VOXEL = (40.0, 8.0, 8.0)
ARRAY = (np.arange(12 * 7 * 9) % 251).astype(np.uint8).reshape(12, 7, 9)
SMALL, WIDER = ARRAY[:, ::2, ::2].copy(), ARRAY.astype(np.uint16)
LARGE = np.zeros((30, 40), np.uint8)
COLOUR = np.zeros((5, 6, 3), np.uint8)
IMAGEJ = "ImageJ=1.53t\nimages={0}\nslices={0}\nunit=nm\nspacing=40\n"
CHOOSE = r"--config\.data\.series=N \(train\) or --input_dataset=N \(reconstruct\)"


def _write(path, *images, **options):
    """Write images one after another, each an array or (array, its own options)."""
    with tifffile.TiffWriter(path, ome=options.pop("ome", None)) as tif:
        for image in images:
            array, own = image if isinstance(image, tuple) else (image, {})
            colour = "rgb" if array.shape[-1] == 3 else "minisblack"
            tif.write(array, **{"metadata": None, "photometric": colour, **options, **own})
    return path


def _read(path, array, words=(), **options):
    """Expect an array, and notes that hold these words and no others."""
    volume = open_volume(path, voxel_nm=VOXEL, **options)
    assert volume.dtype == array.dtype
    np.testing.assert_array_equal(volume[:], array)
    box = (slice(1, 5), slice(2, 6), slice(3, 4))
    np.testing.assert_array_equal(volume[box], array[box])
    assert len(volume.notes) == len(words), volume.notes
    for word, note in zip(words, volume.notes, strict=True):
        assert word in note and "\n" not in note and str(path) not in note
    return volume


def _refused(path, match, **options):
    with pytest.raises(ValueError, match=match) as caught:
        open_volume(path, voxel_nm=VOXEL, **options)
    assert "\n" not in str(caught.value)


def _imagej(array, slices, **options):
    return (array, {"description": IMAGEJ.format(slices), "resolution": (1 / 8, 1 / 8), **options})


@pytest.mark.parametrize(
    ("odd", "listed"), [(ARRAY[4, :, :-2], "7 x 7 uint8"), (WIDER[4], "7 x 9 uint16")]
)
@pytest.mark.parametrize("at", [0, 4, 11])
@pytest.mark.parametrize("header", [None, {}, "imagej"], ids=str)
def test_a_page_unlike_the_others_is_named(tmp_path, odd, listed, at, header):
    pages = [odd if index == at else page for index, page in enumerate(ARRAY)]
    if header == "imagej" and at > 0:
        pages[0], header = _imagej(pages[0], 12, resolutionunit=1), None
    path = _write(tmp_path / "v.tif", *pages, metadata=None if header == "imagej" else header)
    _refused(path, rf"\d: {listed} \(page {at}\).*{CHOOSE}")
    rest = np.delete(ARRAY, at, 0)
    words = [f"left out: page {at}"] if at == 4 else []
    _read(path, rest, words, series=1 if at == 0 else 0)


@pytest.mark.parametrize("metadata", [None, {}])
@pytest.mark.parametrize("second", [SMALL, WIDER], ids=["overview", "another type"])
def test_two_volumes_are_refused_and_one_is_chosen(tmp_path, metadata, second):
    path = _write(tmp_path / "v.tif", second, ARRAY, metadata=metadata)
    _refused(
        path, rf"0: 12 x .*\(pages 0 to 11\); 1: 12 x 7 x 9 uint8 \(pages 12 to 23\).*{CHOOSE}"
    )
    _read(path, second, series=0)
    _read(path, ARRAY, dataset="1")


def test_two_volumes_in_ome(tmp_path):
    sizes = {"axes": "ZYX", "PhysicalSizeX": 8, "PhysicalSizeY": 8, "PhysicalSizeZ": 40}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    large = {"metadata": sizes | units}
    small = {"metadata": sizes | units | {"PhysicalSizeX": 16, "PhysicalSizeY": 16}}
    path = _write(tmp_path / "v.ome.tif", (SMALL[:2], small), (ARRAY, large), ome=True)
    _refused(path, "0: 2 x 4 x 5 uint8.*1: 12 x 7 x 9 uint8")
    for series, voxel, array in [(0, (40, 16, 16), SMALL[:2]), (1, VOXEL, ARRAY)]:
        volume = open_volume(path, series=series)
        assert volume.voxel_nm == voxel
        np.testing.assert_array_equal(volume[:], array)


def test_the_number_of_an_image(tmp_path):
    path = _write(tmp_path / "v.tif", SMALL, ARRAY)
    _refused(path, "series: got 2, wanted one of 0: 12 x 4", series=2)
    _refused(path, "series: got 1 beside dataset '0'", series=1, dataset="0")
    _refused(path, "dataset: got 'raw', wanted the number", dataset="raw")
    np.save(tmp_path / "v.npy", ARRAY)
    _refused(tmp_path / "v.npy", "series: got 1, wanted none: npy", series=1)
    settings = {"data__path": str(path), "data__voxel_nm": VOXEL, "data__series": 1}
    assert open_stack(changed(load_config("emgauss"), settings).data).shape == ARRAY.shape


@pytest.mark.parametrize("image", [SMALL[0], COLOUR, LARGE], ids=["small", "colour", "large"])
@pytest.mark.parametrize("at", [0, 12])
@pytest.mark.parametrize("metadata", [None, {}])
def test_a_thumbnail_a_label_or_an_overview_is_left_out(tmp_path, image, at, metadata):
    images = [*ARRAY]
    images.insert(at, image)
    path = _write(tmp_path / "v.tif", *images, metadata=metadata)
    volume = _read(path, ARRAY, [f"(page {at})"])
    assert volume.notes[0].count(f"{min(at, 1)}: ") == 1


def test_a_small_page_among_the_slices_is_no_thumbnail(tmp_path):
    images = [*ARRAY[:5], SMALL[0], *ARRAY[5:]]
    _refused(_write(tmp_path / "v.tif", *images), r"\(pages 0 to 12 but 5\); 1: 4 x 5 uint8")


def test_a_thumbnail_that_tifffile_describes(tmp_path):
    _read(_write(tmp_path / "a.tif", ARRAY, SMALL[0], metadata={}), ARRAY, ["1: 4 x 5 uint8"])
    _read(_write(tmp_path / "b.tif", SMALL[0], ARRAY, metadata={}), ARRAY, ["0: 4 x 5 uint8"])


def test_thumbnails_beside_a_stack_in_ome(tmp_path):
    stack = (ARRAY, {"metadata": {"axes": "ZYX"}})
    path = _write(tmp_path / "v.ome.tif", stack, COLOUR, SMALL[0], ome=True, metadata={})
    _read(path, ARRAY, ["1: 5 x 6 uint8, 3 samples (page 12); 2: 4 x 5 uint8 (page 13)"])


def test_a_colour_page_of_the_same_size_may_be_a_slice(tmp_path):
    _refused(_write(tmp_path / "v.tif", *ARRAY, np.zeros((7, 9, 3), np.uint8)), "make no single")


@pytest.mark.parametrize("between", [True, False])
def test_pages_marked_as_smaller_copies_are_left_out(tmp_path, between):
    copies = [(page, {"subfiletype": 1}) for page in SMALL]
    pairs = zip(ARRAY, copies, strict=True)
    images = [each for pair in pairs for each in pair] if between else [*ARRAY, *copies]
    _read(_write(tmp_path / "v.tif", *images), ARRAY)


@pytest.mark.parametrize("marked", [range(12), range(1, 12)], ids=str)
def test_pages_of_one_size_are_no_smaller_copies(tmp_path, marked):
    pages = [(page, {"subfiletype": int(z in marked)}) for z, page in enumerate(ARRAY)]
    _read(_write(tmp_path / "v.tif", *pages), ARRAY)


def test_pages_compressed_in_several_ways(tmp_path):
    pages = [(page, {"compression": "zlib" if z % 2 else None}) for z, page in enumerate(ARRAY)]
    _read(_write(tmp_path / "v.tif", *pages), ARRAY)


@pytest.mark.parametrize("second", [None, "zlib", "header"])
@pytest.mark.parametrize("first", [None, "zlib"])
def test_a_stack_appended_to_another(tmp_path, first, second):
    own = {"compression": first}
    rest = (ARRAY[6:], {"compression": second})
    if second == "header":  # as tiffcp leaves it
        rest = _imagej(ARRAY[6:], 6, resolutionunit=1, compression="zlib")
    path = _write(tmp_path / "v.tif", _imagej(ARRAY[:6], 6, resolutionunit=1, **own), rest)
    assert _read(path, ARRAY, ["the header says 6 slices, the file holds 12"]).voxel_nm == VOXEL


def test_an_appended_stack_of_another_kind(tmp_path):
    path = _write(tmp_path / "v.tif", _imagej(ARRAY[:6], 6, resolutionunit=1), WIDER[6:])
    _refused(path, "0: 6 x 7 x 9 uint8.*1: 6 x 7 x 9 uint16")
    assert open_volume(path, series=0).voxel_nm == pytest.approx(VOXEL)
    with pytest.raises(ValueError, match="no voxel size"):  # the header is the other stack's
        open_volume(path, series=1)


def test_two_dimensions_appended(tmp_path):
    head = IMAGEJ.format(3).replace("images=3", "images=6\nchannels=2\nhyperstack=true")
    _refused(_write(tmp_path / "v.tif", (ARRAY, {"description": head})), "make no single stack")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"rowsperstrip": 2}], ids=str)
@pytest.mark.parametrize("form", ["plain", "shaped", "imagej", "ome", "by page"])
def test_truncated(tmp_path, form, options):
    path = tmp_path / "v.tif"
    if form == "by page":
        _write(path, *ARRAY, contiguous=False, **options)
    elif form == "imagej":
        _write(path, _imagej(ARRAY, 12, **options))
    else:
        metadata = None if form == "plain" else {}
        _write(path, ARRAY, ome=form == "ome", metadata=metadata, **options)
    whole = path.read_bytes()
    for length in range(len(whole) // 3, len(whole) - 9, len(whole) // 40):
        path.write_bytes(whole[:length])
        _refused(path, "cut off")


@pytest.mark.parametrize("planes", [1, 7])
def test_one_header_for_all_planes_of_a_file_cut_off(tmp_path, planes):
    path = _write(tmp_path / "v.tif", _imagej(ARRAY[0], 12, resolutionunit=1))
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].dataoffsets[0]
    head = path.read_bytes()[:start]
    path.write_bytes(head + ARRAY.tobytes())
    _read(path, ARRAY)
    path.write_bytes(head + ARRAY[:planes].tobytes())
    _refused(path, f"got {planes} whole planes, ImageJ's header promises 12")


def test_older_imagej_counts_images_and_no_slices(tmp_path):
    array, own = _imagej(ARRAY[0], 12, resolutionunit=1)
    own["description"] = own["description"].replace("slices=12\n", "")
    path = _write(tmp_path / "v.tif", (array, own))
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].dataoffsets[0]
    path.write_bytes(path.read_bytes()[:start] + ARRAY.tobytes())
    assert _read(path, ARRAY).voxel_nm == VOXEL
    _read(_write(tmp_path / "w.tif", (ARRAY, own)), ARRAY)


def test_an_empty_page_at_the_end(tmp_path):
    path = _write(tmp_path / "v.tif", *ARRAY)
    with tifffile.TiffFile(path) as tif:
        link = tif.pages.next_page_offset
    data = bytearray(path.read_bytes())
    data[link : link + 4] = len(data).to_bytes(4, "little")
    path.write_bytes(data + bytes(6))  # no tags, no further page
    _read(path, ARRAY)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=str)
def test_a_header_that_promises_more_than_there_is(tmp_path, options):
    path = _write(tmp_path / "v.tif", _imagej(ARRAY[:10], 12, **options))
    _refused(path, "got 10 whole planes, ImageJ's header promises 12")
    head = '{"shape": [12, 7, 9]}'
    path = _write(tmp_path / "w.tif", (ARRAY[:10], {"description": head, **options}))
    _refused(path, "got 10 whole planes, tifffile's header promises 12")


def test_strips_that_hold_nothing_are_counted(tmp_path):
    path = _write(tmp_path / "v.tif", *ARRAY, compression="zlib", rowsperstrip=4)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for page, kept in ((tif.pages[2], [1]), (tif.pages[3], [])):
            for tag in (273, 279):  # StripOffsets, StripByteCounts
                values = page.tags[tag].value
                page.tags[tag].overwrite([n if i in kept else 0 for i, n in enumerate(values)])
    want = ARRAY.copy()
    want[2, :4], want[3] = 0, 0
    volume = _read(path, want)
    assert volume.absent_chunks(slice(None)) == (3, 24)
    assert volume.absent_chunks(slice(0, 3)) == (1, 6)


def test_a_page_without_pixels_is_no_header_read_as_pixels(tmp_path):
    path = _write(tmp_path / "v.tif", *ARRAY, contiguous=False)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for tag in (273, 279):
            tif.pages[3].tags[tag].overwrite([0])
    want = ARRAY.copy()
    want[3] = 0
    assert _read(path, want).absent_chunks(slice(None)) == (1, 12)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["ZYX", "XYZ", "YXZ", "ZXY", "XZY", "YZX", "QXY", "XYI"])
def test_axes_are_taken_by_their_letters(tmp_path, axes, compression):
    """The axis that is neither y nor x counts slices."""
    names = ["ZYX".index(letter if letter in "YX" else "Z") for letter in axes]
    stored = np.ascontiguousarray(ARRAY.transpose(names))
    path = tmp_path / "v.tif"
    options = {"photometric": "minisblack", "compression": compression}
    tifffile.imwrite(path, stored, metadata={"axes": axes}, **options)
    volume = _read(path, ARRAY)
    assert volume.absent_chunks(slice(None)) == (0, stored.shape[0])


@pytest.mark.parametrize(
    ("axes", "word"), [("TYX", "12 frames in time are"), ("CYX", "12 channels are")]
)
def test_frames_and_channels_taken_as_slices_are_named(tmp_path, axes, word):
    path = tmp_path / "v.tif"
    for options in ({"ome": True}, {"imagej": True}, {}):
        tifffile.imwrite(path, ARRAY, metadata={"axes": axes}, photometric="minisblack", **options)
        _read(path, ARRAY, [word])


@pytest.mark.parametrize("axes", ["TZYX", "CZYX"])
def test_two_axes_beside_y_and_x(tmp_path, axes):
    path = tmp_path / "v.tif"
    options = {"metadata": {"axes": axes}, "photometric": "minisblack"}
    tifffile.imwrite(path, np.stack([ARRAY, ARRAY]), **options)
    _refused(path, f"axes {axes[0]} 2, Z 12 beside Y and X")
    tifffile.imwrite(path, ARRAY[None], **options)
    _read(path, ARRAY)


@pytest.mark.parametrize("mode", ["composite", "color", "grayscale"])
def test_channels_of_one_slice(tmp_path, mode):
    path = tmp_path / "v.tif"
    metadata = {"axes": "CYX", "mode": mode}
    tifffile.imwrite(path, ARRAY[:3], imagej=True, metadata=metadata)
    if mode == "grayscale":
        _read(path, ARRAY[:3], ["3 channels are taken as slices"])
    else:
        _refused(path, rf"got 3 channels of one slice \({mode}\)")
