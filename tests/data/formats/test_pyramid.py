"""Every level of a pyramid is the mean of the one before, and is found by readers of its format."""

import itertools
import json

import numpy as np
import pytest
import tensorstore as ts

from emgauss_jax.data.concurrent_volume import begin, finish
from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.formats.pyramid import level_factors, level_tasks, mean_over
from emgauss_jax.data.volume import open_volume

CASES = [("v.zarr", "zarr2"), ("v.zarr", "zarr3"), ("v.n5", "n5"), ("v.precomputed", "precomputed")]
SHAPE, VOXEL = (70, 129, 201), (40.0, 5.0, 5.25)
FACTORS = [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8), (2, 16, 16)]


def _values(shape=SHAPE, dtype="uint16"):
    values = np.random.default_rng(0).random(shape) * 250
    return values.astype(dtype) if dtype == "float32" else np.rint(values).astype(dtype)


def _mean(array, factors):
    """Average what there is of every box, in float64."""
    padding = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    padded = np.pad(array.astype(np.float64), padding, constant_values=np.nan)
    split = [x for n, f in zip(padded.shape, factors, strict=True) for x in (n // f, f)]
    mean = np.nanmean(padded.reshape(split), axis=(1, 3, 5))
    return mean if array.dtype == np.float32 else np.rint(mean).astype(array.dtype)


def _build(path, array, voxel_nm=VOXEL, form=None):
    volume = begin(path, array.shape, array.dtype, voxel_nm, format=form)
    volume.levels[0][:] = array
    for level in range(1, len(volume.levels)):
        for unit in volume.tasks(level):
            volume.coarsen(unit)
    return volume


def _names(path):
    """Name the levels as a reader of the format finds them."""
    if path.suffix == ".precomputed":
        return [scale["key"] for scale in json.loads((path / "info").read_text())["scales"]]
    return [f"{'s' if path.suffix == '.n5' else ''}{i}" for i in range(len(FACTORS))]


@pytest.mark.parametrize(
    ("shape", "voxel_nm", "want"),
    [
        (SHAPE, VOXEL, FACTORS),
        ((64, 64, 64), (1, 1, 1), [(1, 1, 1)]),
        ((65, 64, 64), (1, 1, 1), [(1, 1, 1), (2, 2, 2)]),
        # 30 nm are nearer to 40 nm than to 20 nm by the ratio, 28 nm are not
        ((200, 200, 200), (30, 20, 20), [(1, 1, 1), (1, 2, 2), (2, 4, 4), (4, 8, 8)]),
        ((200, 200, 200), (28, 20, 20), [(1, 1, 1), (2, 2, 2), (4, 4, 4)]),
        ((200, 200, 200), (10, 20, 20), [(1, 1, 1), (2, 1, 1), (4, 2, 2), (8, 4, 4)]),
        # an axis of one voxel is not waited for
        ((1, 129, 65), (1, 5, 5), [(1, 1, 1), (1, 2, 2), (1, 4, 4)]),
        ((2, 65, 65), (1, 5, 5), [(1, 1, 1), (2, 1, 1), (2, 2, 2)]),
    ],
)
def test_levels_are_isotropic_first(shape, voxel_nm, want):
    assert list(level_factors(shape, voxel_nm)) == want


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("factors", list(itertools.product((1, 2), repeat=3)))
def test_means_of_odd_ends(factors, dtype):
    array = _values((5, 6, 7), dtype)
    mean = mean_over(array, factors)
    assert mean.dtype == array.dtype
    np.testing.assert_allclose(mean, _mean(array, factors), rtol=1e-6)


def test_units_are_the_level_in_whole_chunks():
    count = np.zeros((70, 257, 600), int)
    units = level_tasks(3, count.shape)
    for unit in units:
        count[unit.box] += 1
        assert all(part.start % 64 == 0 for part in unit.box)
    assert (count == 1).all() and {unit.level for unit in units} == {3}
    assert len({unit.name for unit in units}) == len(units) == 6


@pytest.mark.parametrize(("name", "form"), CASES)
def test_every_level_as_it_is_opened(tmp_path, name, form):
    array = _values()
    volume = _build(tmp_path / "new" / name, array, form=form)
    np.testing.assert_array_equal(volume.levels[0][3:9, 60:70], array[3:9, 60:70])
    assert not volume.path.exists()
    finish(volume.path)
    assert list(volume.path.parent.iterdir()) == [volume.path]
    assert open_volume(volume.path).shape == SHAPE
    assert len(volume.levels) == len(_names(volume.path)) == len(FACTORS)
    want = array
    for i, key in enumerate(_names(volume.path)):
        if i:
            want = _mean(want, np.array(FACTORS[i]) // FACTORS[i - 1])
        level = open_volume(volume.path, dataset=key)
        assert level.format == form
        np.testing.assert_allclose(level.voxel_nm, np.multiply(VOXEL, FACTORS[i]), rtol=1e-12)
        np.testing.assert_array_equal(level[:], want)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(300, 5, 9), (3, 7, 1100), (1, 530, 3)])
def test_levels_of_several_units_and_layers(tmp_path, shape, dtype):
    array = _values(shape, dtype)
    volume = _build(tmp_path / "v.zarr", array, (8.0, 8.0, 8.0))
    assert len(volume.tasks(1)) == -(-max(volume.levels[1].shape) // 256)
    want = array
    for before, level in itertools.pairwise(volume.levels):
        factors = np.array(level.factors) // before.factors
        want = _mean(want, factors).astype(dtype)
        np.testing.assert_allclose(level[:], want, rtol=1e-5)


def _ome(path, version):
    models = pytest.importorskip(f"ome_zarr_models.{version}", reason="no ome-zarr-models here")
    group = pytest.importorskip("zarr").open_group(str(path), mode="r")
    attributes = models.Image.from_zarr(group).attributes
    (multiscale,) = (attributes.ome if version == "v05" else attributes).multiscales
    return multiscale


@pytest.mark.parametrize(
    ("form", "driver", "version"), [("zarr2", "zarr", "v04"), ("zarr3", "zarr3", "v05")]
)
def test_ome_zarr_is_valid(tmp_path, form, driver, version):
    path = tmp_path / "v.zarr"
    _build(path, _values(), form=form)
    finish(path)
    multiscale = _ome(path, version)
    assert [(axis.name, axis.unit) for axis in multiscale.axes] == [(a, "nanometer") for a in "zyx"]
    for dataset, factors in zip(multiscale.datasets, FACTORS, strict=True):
        scale, shift = dataset.coordinateTransformations
        assert scale.scale == [f * size for f, size in zip(factors, VOXEL, strict=True)]
        centres = [np.arange(f).mean() * size for f, size in zip(factors, VOXEL, strict=True)]
        assert shift.translation == centres
        kvstore = {"driver": "file", "path": str(path / dataset.path)}
        store = ts.open({"driver": driver, "kvstore": kvstore}).result()
        assert store.shape == tuple(-(-n // f) for n, f in zip(SHAPE, factors, strict=True))
        assert store.chunk_layout.read_chunk.shape == tuple(min(64, n) for n in store.shape)
        assert store.read().result().any()


def test_precomputed_opens_at_every_scale(tmp_path):
    path = tmp_path / "v.precomputed"
    volume = _build(path, _values())
    finish(path)
    kvstore = {"driver": "file", "path": str(path)}
    for i, factors in enumerate(FACTORS):
        spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore, "scale_index": i}
        store = ts.open(spec).result()
        assert store.shape == (*volume.levels[i].shape[::-1], 1)
        units = [unit.multiplier for unit in store.dimension_units[:3]]
        assert units == [f * size for f, size in zip(factors, VOXEL, strict=True)][::-1]
        assert store.read().result().any()


def test_n5_states_the_factors_twice(tmp_path):
    path = tmp_path / "v.n5"
    begin(path, SHAPE, "uint8", VOXEL)
    finish(path)
    wanted = [list(factors[::-1]) for factors in FACTORS]
    assert json.loads((path / "attributes.json").read_text())["scales"] == wanted
    for i, factors in enumerate(wanted):
        array = json.loads((path / f"s{i}/attributes.json").read_text())
        assert array["downsamplingFactors"] == factors
        assert array["pixelResolution"] == {"dimensions": [5.25, 5.0, 40.0], "unit": "nm"}
        assert ("resolution" in array) == (i == 0)


PLACE = Place((600.0, -12.5, 31.5))  # a multiple of half voxels; 10.5 voxels of 5.25 nm along x


@pytest.mark.parametrize(
    ("form", "version", "shard"),
    [("zarr2", "v04", (0, 0, 0)), ("zarr3", "v05", (0, 0, 0)), ("zarr3", "v05", (128, 64, 128))],
)
def test_ome_zarr_lies_where_it_is_placed(tmp_path, form, version, shard):
    path = tmp_path / "v.zarr"
    begin(path, SHAPE, "uint8", VOXEL, format=form, place=PLACE, shard=shard)
    finish(path)
    for dataset, factors in zip(_ome(path, version).datasets, FACTORS, strict=True):
        first = [np.arange(f).mean() * size for f, size in zip(factors, VOXEL, strict=True)]
        _, shift = dataset.coordinateTransformations
        assert shift.translation == pytest.approx(np.add(PLACE.centre_nm, first))


def test_n5_lies_where_it_is_placed(tmp_path):
    path = tmp_path / "v.n5"
    begin(path, SHAPE, "uint8", VOXEL, place=PLACE)
    finish(path)
    for i, factors in enumerate(FACTORS):
        transform = json.loads((path / f"s{i}/attributes.json").read_text())["transform"]
        assert (transform["axes"], transform["units"]) == (list("zyx"), ["nm"] * 3)
        assert transform["scale"] == [f * size for f, size in zip(factors, VOXEL, strict=True)]
        first = [np.arange(f).mean() * size for f, size in zip(factors, VOXEL, strict=True)]
        assert transform["translate"] == pytest.approx(np.add(PLACE.centre_nm, first))


def test_precomputed_scales_lie_within_half_a_voxel(tmp_path):
    path = tmp_path / "v.precomputed"
    begin(path, SHAPE, "uint8", VOXEL, place=PLACE)
    finish(path)
    corner = np.subtract(PLACE.centre_nm, np.divide(VOXEL, 2))  # all levels begin there
    for scale in json.loads((path / "info").read_text())["scales"]:
        size = np.array(scale["resolution"][::-1])
        assert (np.abs(np.multiply(scale["voxel_offset"][::-1], size) - corner) <= size / 2).all()
