"""An output is drawn in tasks of whole files, whatever its chunks, shards and slabs are."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.volume import open_volume
from emgauss_jax.pipeline import writing
from emgauss_jax.pipeline.writing import Draw, cut_tiles, output_phases, storage_warnings
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import make_stack, tiny

SHAPE = (50, 30, 40)
VALUES = np.random.default_rng(0).integers(1, 255, SHAPE).astype(np.uint8)


OBSERVED = SimpleNamespace(shape=(7, *SHAPE[1:]), place_at=lambda z: PLACE)
PLACE = Place((4.0, 12.0, 20.0))


def _phases(path, chunk, shard, slab, format=None, drawn=None):
    def planes(z, part):
        assert len(z) == part.shape[0] <= slab
        if drawn is not None:
            drawn[part.slices] += 1
        np.testing.assert_array_equal(z, np.arange(part.start[0], part.start[0] + len(z)))
        return VALUES[part.slices]

    config = SimpleNamespace(output=SimpleNamespace(chunk=chunk, shard=shard))
    run = SimpleNamespace(config=config, observed=OBSERVED)
    grid = SimpleNamespace(z=np.arange(SHAPE[0], dtype=np.float64), voxel_nm=(8.0, 8.0, 8.0))
    return output_phases(Draw(planes, slab), run, grid, path, np.uint8, format, "planes of it")


def _do(phases):
    for phase in phases:
        for task in range(phase.count):
            if not phase.done(task):
                phase.do(task)


@pytest.mark.parametrize("slab", [7, 16, 64])
@pytest.mark.parametrize(
    ("name", "chunk", "shard"),
    [
        ("v.zarr", (16, 16, 16), (0, 0, 0)),
        ("v.zarr", (8, 16, 16), (16, 16, 32)),
        ("v.zarr", (24, 8, 20), (48, 24, 20)),
        ("v.n5", (20, 12, 9), (0, 0, 0)),
        ("v.precomputed", (128, 128, 128), (0, 0, 0)),
        ("v.h5", (5, 6, 7), (0, 0, 0)),
    ],
)
def test_every_voxel_is_drawn_once_and_no_file_is_shared(
    tmp_path, monkeypatch, name, chunk, shard, slab
):
    monkeypatch.setattr(writing, "TILE", (16, 16, 16))
    drawn, path = np.zeros(SHAPE, int), tmp_path / name
    _do(_phases(path, chunk, shard, slab, drawn=drawn))
    assert (drawn == 1).all()
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], VALUES)
    assert volume.place == PLACE
    assert volume.absent_chunks(np.s_[:])[0] == 0


def test_shards_are_for_the_formats_that_have_them(tmp_path):
    # the output of the run itself must be as its config says
    with pytest.raises(ValueError, match=r"shard: got .* for n5"):
        _phases(tmp_path / "v.n5", (16,) * 3, (32,) * 3, 64, format="n5")
    # another output of it, in another format, is not
    _do(_phases(tmp_path / "w.n5", (16,) * 3, (32,) * 3, 64))
    np.testing.assert_array_equal(open_volume(tmp_path / "w.n5")[:], VALUES)


def _told(name, chunk=(64,) * 3, shard=(0,) * 3):
    config = SimpleNamespace(output=SimpleNamespace(chunk=chunk, shard=shard))
    return storage_warnings(SimpleNamespace(config=config), Path(name), None, own=False)


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("v.mrc", {}, []),
        ("v.mrc", {"chunk": (8,) * 3}, ["output.chunk: mrc has no chunks: not used"]),
        ("v.h5", {"chunk": (8,) * 3}, []),
        ("v.n5", {"shard": (64,) * 3}, ["output.shard is for zarr 3 alone: not used"]),
        ("v.zarr", {"chunk": (8,) * 3, "shard": (64,) * 3}, []),
    ],
)
def test_what_a_format_does_not_use_is_said(name, changed, said):
    assert _told(name, **changed) == [f"warning: {name}: {each}" for each in said]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"chunk": (0, 8, 8)}, r"chunk: got \(0, 8, 8\), wanted three positive"),
        ({"chunk": (8, 8)}, r"chunk: got \(8, 8\), wanted three positive"),
        ({"shard": (64,) * 3}, "for hdf5, wanted 0,0,0: zarr3 alone has shards"),
    ],
)
def test_train_refuses_them_before_it_makes_anything(tmp_path, asked, match):
    path = make_stack(tmp_path / "a.h5")
    changes = {f"output__{name}": value for name, value in asked.items()}
    config = tiny("linear", data__path=path, data__simulate_factor=0, **changes)
    with pytest.raises(ValueError, match=match):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", [(64, 64, 64), (100, 512, 600), (512, 1024, 1024), (1, 7, 1000)])
def test_tiles_are_whole_files(file):
    shape = (600, 1100, 1300)
    tiles = cut_tiles(shape, file)
    count = np.zeros([-(-n // edge) for n, edge in zip(shape, file, strict=True)], int)
    for tile in tiles:
        parts = zip(tile.start, tile.shape, file, shape, strict=True)
        assert all(a % f == 0 and ((a + n) % f == 0 or a + n == s) for a, n, f, s in parts)
        count[
            tuple(slice(a // f, -(-(a + n) // f)) for a, n, f in
                  zip(tile.start, tile.shape, file, strict=True))
        ] += 1  # fmt: skip
    assert (count == 1).all()
    zs = [tile.start[0] for tile in tiles]
    assert zs == list(itertools.chain(*[sorted(set(zs))] * (len(zs) // len(set(zs)))))
