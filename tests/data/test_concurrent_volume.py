"""Volumes written by many processes, killed and started again: nothing is lost."""

import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from emgauss_jax.data.concurrent_volume import begin, finish
from emgauss_jax.data.volume import create_volume, open_volume

CASES = [("v.zarr", "zarr2"), ("v.zarr", "zarr3"), ("v.n5", "n5"), ("v.precomputed", "precomputed")]
SHAPE, VOXEL = (70, 129, 201), (40.0, 5.0, 5.25)


def _values(dtype="uint16"):
    return np.random.default_rng(0).integers(0, 250, SHAPE).astype(dtype)


def _fails(words, call, *arguments, **options):
    """Expect a ValueError of one line that holds every one of the words."""
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_begun_again_it_holds_what_it_held(tmp_path, name, form):
    array = _values()
    first = begin(tmp_path / name, SHAPE, "uint16", VOXEL, format=form)
    first.levels[0][:64, :64] = array[:64, :64]
    first.mark("box 1")
    again = begin(tmp_path / name, SHAPE, "uint16", VOXEL, format=form)
    assert again.done("box 1") and not again.done("box 2")
    again.levels[0][:64, 64:] = array[:64, 64:]
    again.levels[0][:64, 64:] = array[:64, 64:]
    again.mark("box 1")
    finish(tmp_path / name)
    volume = open_volume(tmp_path / name)
    np.testing.assert_array_equal(volume[:64], array[:64])
    assert not volume[64:].any()


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (["shape", "[70, 129, 201]", "[70, 129, 202]"], {"shape": (70, 129, 202)}),
        (["dtype", "uint16", "uint8"], {"dtype": "uint8"}),
        (["voxel_nm", "5.25", "5.5"], {"voxel_nm": (40.0, 5.0, 5.5)}),
        (["format", "zarr3", "zarr2"], {"format": "zarr2"}),
    ],
)
def test_begun_as_something_else(tmp_path, words, change):
    asked = {"shape": SHAPE, "dtype": "uint16", "voxel_nm": VOXEL}
    volume = begin(tmp_path / "v.zarr", **asked)
    volume.levels[0][:] = _values()
    _fails(["v.zarr", *words], begin, tmp_path / "v.zarr", **(asked | change))
    np.testing.assert_array_equal(volume.levels[0][:], _values())


def test_what_cannot_be_begun(tmp_path):
    (tmp_path / "v.zarr").write_text("precious")
    _fails(["v.zarr", "exists"], begin, tmp_path / "v.zarr", SHAPE, "uint8", VOXEL)
    _fails(["format", "tiff", "n5"], begin, tmp_path / "v.tif", SHAPE, "uint8", VOXEL)
    _fails(["dtype", "int64"], begin, tmp_path / "w.zarr", SHAPE, "int64", VOXEL)
    # a file where a folder is wanted: what a read-only folder is to one who may do everything
    _fails(["w.n5", "begun as n5"], begin, tmp_path / "v.zarr/w.n5", SHAPE, "uint8", VOXEL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.zarr"]


def test_finished_again_after_a_kill(tmp_path):
    path, hidden = tmp_path / "v.zarr", tmp_path / ".v.zarr.shared"
    _fails(["v.zarr", "wanted a volume begun"], finish, path)
    begin(path, SHAPE, "uint16", VOXEL).mark("all")
    (hidden / "volume").rename(path)  # as far as it came
    finish(path)
    finish(path)
    assert list(tmp_path.iterdir()) == [path]
    _fails(["exists"], begin, path, SHAPE, "uint16", VOXEL)
    shutil.rmtree(path)
    assert not begin(path, SHAPE, "uint16", VOXEL).done("all")
    path.write_text("precious")
    _fails(["exists already", hidden.name], finish, path)
    assert path.read_text() == "precious" and (hidden / "volume").is_dir()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "line\n"])
def test_names_of_the_journal(tmp_path, name):
    volume = begin(tmp_path / "v.zarr", SHAPE, "uint8", VOXEL)
    _fails(["name", repr(name)], volume.mark, name)
    _fails(["name", repr(name)], volume.done, name)


@pytest.mark.parametrize(
    "box", [np.s_[1:64], np.s_[:63], np.s_[:, 64:127], np.s_[:, :, 130:], np.s_[64:69]]
)
def test_boxes_that_cut_chunks_are_refused(tmp_path, box):
    level = begin(tmp_path / "v.zarr", SHAPE, "uint16", VOXEL).levels[0]
    _fails(["v.zarr", "box", "whole chunks"], level.__setitem__, box, _values()[box])
    assert not level[:].any()


def test_what_is_written_must_fit(tmp_path):
    level = begin(tmp_path / "v.zarr", SHAPE, "uint16", VOXEL).levels[0]
    _fails(["uint8", "uint16"], level.__setitem__, np.s_[:64], _values(dtype="uint8")[:64])
    _fails(["(63, 129, 201)"], level.__setitem__, np.s_[:64], _values()[:63])


def test_the_volume_itself_is_not_made_of_a_level(tmp_path):
    volume = begin(tmp_path / "v.zarr", SHAPE, "uint16", VOXEL)
    _fails(["task", "level0"], volume.coarsen, volume.tasks(0)[0])


def test_a_volume_written_alone_leaves_a_shared_one_be(tmp_path):
    shared = begin(tmp_path / "v.zarr", SHAPE, "uint16", VOXEL)
    shared.levels[0][:] = _values()
    with create_volume(tmp_path / "v.zarr", (2, 3, 4), "uint8", VOXEL):
        pass
    np.testing.assert_array_equal(shared.levels[0][:], _values())


@pytest.mark.parametrize("name", ["v.zarr", "v.n5", "v.precomputed"])
def test_begun_by_many_at_the_same_moment(tmp_path, name):
    together, failures = threading.Barrier(8), []

    def work(i):
        try:
            together.wait()
            volume = begin(tmp_path / name, (8 * 64, 5, 6), "uint16", VOXEL)
            box = slice(64 * i, 64 * i + 64)
            volume.levels[0][box] = np.full((64, 5, 6), i + 1, np.uint16)
            volume.mark(f"box {i}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [entry.name for entry in tmp_path.iterdir()] == [f".{name}.shared"]
    volume = begin(tmp_path / name, (8 * 64, 5, 6), "uint16", VOXEL)
    assert all(volume.done(f"box {i}") for i in range(8))
    want = np.broadcast_to(np.repeat(np.arange(1, 9), 64)[:, None, None], (512, 5, 6))
    np.testing.assert_array_equal(volume.levels[0][:], want)


WORK = """
import pathlib, sys, time
import numpy as np
from emgauss_jax.data.concurrent_volume import begin
path, first, step, pause = pathlib.Path(sys.argv[1]), *map(float, sys.argv[2:])
(path.parent / f"ready {first:.0f}").touch()
while not (path.parent / "go").exists():
    time.sleep(0.001)
volume = begin(path, (640, 65, 70), "uint8", (8, 8, 8))
for i in range(int(first), 10, int(step)):
    if not volume.done(f"slab {i}"):
        volume.levels[0][64 * i : 64 * i + 64] = np.full((64, 65, 70), i + 1, np.uint8)
        volume.mark(f"slab {i}")
        time.sleep(pause)
"""


SLABS = np.broadcast_to(np.repeat(np.arange(1, 11), 64)[:, None, None], (640, 65, 70))


def _finished(path):
    finish(path)
    return open_volume(path)[:]


@pytest.fixture
def worker(tmp_path):
    """Start processes that do not outlive the test: first slab, step, seconds after each."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-c", WORK, str(tmp_path / "v.zarr"), *map(str, arguments)]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def _wait(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_two_processes_give_the_whole(tmp_path, worker):
    workers = [worker(i, 2, 0) for i in range(2)]
    _wait(lambda: all((tmp_path / f"ready {i}").exists() for i in range(2)))
    (tmp_path / "go").touch()
    assert [process.wait() for process in workers] == [0, 0]
    np.testing.assert_array_equal(_finished(tmp_path / "v.zarr"), SLABS)


def test_killed_and_started_again(tmp_path, worker):
    path, hidden = tmp_path / "v.zarr", tmp_path / ".v.zarr.shared"
    (tmp_path / "go").touch()
    killed = worker(0, 1, 60)
    _wait(lambda: (hidden / "done/slab 0").exists())
    killed.kill()
    assert killed.wait() < 0
    chunks = hidden / "volume/0/c"
    written = os.stat(chunks / "0/0/0").st_mtime_ns
    half = chunks / "1/0/0.__lock"  # what tensorstore leaves of a chunk it was writing
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half a chunk")
    assert worker(0, 1, 0).wait() == 0
    assert os.stat(chunks / "0/0/0").st_mtime_ns == written
    assert not half.exists()
    np.testing.assert_array_equal(_finished(path), SLABS)


def test_a_damaged_chunk_is_named_and_what_does_not_need_it_is_made(tmp_path):
    path = tmp_path / "v.zarr"
    volume = begin(path, (5, 7, 1100), "uint16", VOXEL)
    volume.levels[0][:] = np.full((5, 7, 1100), 7, np.uint16)
    (tmp_path / ".v.zarr.shared/volume/0/c/0/0/0").write_bytes(b"damaged")
    units = volume.tasks(1)
    _fails(["v.zarr", "read as zarr3 in [0:5, 0:7, 0:512]"], volume.coarsen, units[0])
    volume.coarsen(units[2])
    np.testing.assert_array_equal(volume.levels[1][units[2].box], np.full((5, 4, 38), 7))


@pytest.mark.parametrize(
    ("name", "form", "taken"),
    [
        ("v.zarr", "zarr2", "0/0/1"),
        ("v.zarr", "zarr3", "0/c/0/1"),
        ("v.n5", "n5", "s0/0/1"),
        ("v.precomputed", "precomputed", "5.25_5_40"),
    ],
)
def test_a_chunk_that_cannot_be_written_loses_no_other(tmp_path, name, form, taken):
    volume = begin(tmp_path / name, SHAPE, "uint16", VOXEL, format=form)
    array = _values()
    first, second = np.s_[:64, :64, :64], np.s_[:64, 64:128, :64]
    if form != "precomputed":  # all its chunks are in one folder
        volume.levels[0][first] = array[first]
    # a file where their folder is wanted: permissions do not hold for everyone
    (tmp_path / f".{name}.shared/volume" / taken).write_text("a file")
    words = [name, f"written as {form} in [0:64, 64:128, 0:64]"]
    _fails(words, volume.levels[0].__setitem__, second, array[second])
    if form != "precomputed":
        np.testing.assert_array_equal(volume.levels[0][first], array[first])


FULL = """
import resource, sys
import numpy as np
from emgauss_jax.data.concurrent_volume import begin
volume = begin(sys.argv[1], (128, 64, 64), "uint8", (8, 8, 8))
noise = np.random.default_rng(0).integers(0, 255, (64, 64, 64), np.uint8)
volume.levels[0][:64] = noise
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
try:
    volume.levels[0][64:] = noise
except ValueError as error:
    print(error)
print(np.array_equal(volume.levels[0][:64], noise), volume.levels[0][64:].any())
"""


def test_a_full_disk(tmp_path):
    path = tmp_path / "v.zarr"
    command = [sys.executable, "-c", FULL, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    message, kept = said.splitlines()
    assert message.startswith(f"{path}: cannot be written as zarr3 in [64:128, 0:64, 0:64]: ")
    assert kept == "True False"


CHUNK, SHARD = (16, 24, 40), (32, 24, 80)


@pytest.mark.parametrize(("name", "form"), CASES)
@pytest.mark.parametrize("sharded", [False, True])
def test_chunks_and_shards_as_asked(tmp_path, name, form, sharded):
    path, asked = tmp_path / name, {"chunk": CHUNK, "format": form}
    if sharded:
        asked["shard"] = SHARD
    if sharded and form != "zarr3":
        words = [f"shard: got {SHARD} for {form}", "zarr3 alone"]
        _fails(words, begin, path, SHAPE, "uint16", VOXEL, **asked)
        _fails(words, create_volume, path, SHAPE, "uint16", VOXEL, **asked)
        return
    volume, array = begin(path, SHAPE, "uint16", VOXEL, **asked), _values()
    again = begin(path, SHAPE, "uint16", VOXEL, **asked)
    file = SHARD if sharded else CHUNK
    assert again.levels[0].chunk == file
    box = tuple(slice(edge, 2 * edge) for edge in file)
    again.levels[0][box] = array[box]
    cut = tuple(slice(0, edge // 2) for edge in file)
    _fails(["whole chunks", str(file)], volume.levels[0].__setitem__, cut, array[cut])
    volume.levels[0][:] = array
    for level in range(1, len(volume.levels)):
        for task in volume.tasks(level):
            volume.coarsen(task)
    finish(path)
    opened = open_volume(path)
    np.testing.assert_array_equal(opened[:], array)
    chunks = [-(-n // edge) for n, edge in zip(SHAPE, CHUNK, strict=True)]
    assert opened.absent_chunks(np.s_[:]) == (0, np.prod(chunks))
    _fails(["exists"], begin, path, SHAPE, "uint16", VOXEL)


def test_shards_as_zarr_finds_them(tmp_path):
    zarr = pytest.importorskip("zarr")
    array = _values()
    path = tmp_path / "v.zarr"
    with create_volume(path, SHAPE, "uint16", VOXEL, chunk=CHUNK, shard=SHARD) as writer:
        writer[:] = array
    found = zarr.open_array(path / "0")
    assert (found.chunks, found.shards) == (CHUNK, SHARD)
    np.testing.assert_array_equal(found[:], array)
    # cut to a volume that is smaller than a chunk, and to one that is smaller than a shard
    for shape, chunk, shard in (
        ((5, 10, 30), (5, 10, 30), (5, 10, 30)),
        ((20, 30, 50), CHUNK, (32, 24, 80)),
        ((10, 30, 30), (10, 24, 30), (10, 24, 30)),
    ):
        small = tmp_path / f"{shape[0]}.zarr"
        with create_volume(small, shape, "uint16", VOXEL, chunk=CHUNK, shard=SHARD) as writer:
            writer[:] = array[tuple(slice(0, n) for n in shape)]
        found = zarr.open_array(small / "0")
        assert (found.chunks, found.shards) == (chunk, shard)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["chunk: got (64, 64)", "three positive whole numbers"], {"chunk": (64, 64)}),
        (["chunk: got (64, 64, 0)", "three positive"], {"chunk": (64, 64, 0)}),
        (["chunk: got (64, 64, 1.5)", "three positive"], {"chunk": (64, 64, 1.5)}),
        (["shard: got (64, 64, 96)", "whole chunks of (64, 64, 64)"], {"shard": (64, 64, 96)}),
        (["shard: got (64, 64, 0)", "whole chunks"], {"shard": (64, 64, 0)}),
        (["shard: got (-64, 64, 64)", "0,0,0"], {"shard": (-64, 64, 64)}),
        (["shard: got (128, 128, 128) for hdf5"], {"shard": (128,) * 3, "format": "hdf5"}),
    ],
)
def test_chunks_that_cannot_be(tmp_path, words, asked):
    name = "v.h5" if "format" in asked else "v.zarr"
    _fails([name, *words], create_volume, tmp_path / name, SHAPE, "uint16", VOXEL, **asked)


@pytest.mark.parametrize(
    ("asked", "word"), [({"chunk": (32, 64, 64)}, "chunk"), ({"shard": (128,) * 3}, "shard")]
)
def test_begun_with_other_chunks(tmp_path, asked, word):
    begin(tmp_path / "v.zarr", SHAPE, "uint16", VOXEL)
    _fails([f"{word}: got"], begin, tmp_path / "v.zarr", SHAPE, "uint16", VOXEL, **asked)
