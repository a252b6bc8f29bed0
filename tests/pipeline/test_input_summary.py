"""What is said of an input before its fit and in its report, and where the output lies."""

import dataclasses
import json
import re

import numpy as np
import pytest

import emgauss_jax as eg
from emgauss_jax.data import opening
from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.tiling import Box
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.execution.executors import alone
from emgauss_jax.execution.jobs import Job, open_run, run_job
from emgauss_jax.pipeline import writing
from emgauss_jax.pipeline.input_summary import place_note, summarise
from emgauss_jax.pipeline.output_grid import at_depths, isotropic, place_of
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.storage.run_dir import read_absent
from emgauss_jax.sweeps.plan import group, hyper_of
from emgauss_jax.sweeps.run_sweep import run_sweep
from emgauss_jax.sweeps.trials import Trial
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import make_stack, tiny, tiny_niiv, write

ABSENT = (
    "warning: absent chunks: 3 of 64 are not stored: "
    "their voxels are the fill value, 0 in most files"
)


def linear(path, **changes):
    return tiny("linear", data__path=str(path), **{"data__simulate_factor": 0} | changes)


def changed_when_opened(monkeypatch, **fields):
    """Let `data.path` and `data.paths` be opened with other fields than the files give."""
    opened = opening.open_volume
    monkeypatch.setattr(
        opening,
        "open_volume",
        lambda *args, **kw: dataclasses.replace(opened(*args, **kw), **fields),
    )


def counting(absent):
    """Make a volume's count of absent chunks, and the list of boxes that it was asked for."""
    asked = []

    def count(box):
        asked.append(box)
        return absent

    return count, asked


def told(config):
    return summarise(prepare(config).observed)


def test_one_line_says_what_is_given_and_made(tmp_path):
    phantom = tiny("linear", data__phantom_shape=(97, 20, 24), data__simulate_factor=8)
    assert told(phantom).lines == [
        "input: 13 slices of 20 x 24 px, uint8, grey range 0 to 255, voxel 80 x 10 x 10 nm "
        "(z, y, x), as given; output: 97 planes, voxel 10 x 10 x 10 nm"
    ]
    values = np.zeros((6, 24, 28), np.uint16)
    values[::2] = 4031  # half of the voxels: no quantile lies between
    path = write(tmp_path / "a.ome.tif", values, (40.0, 8.0, 8.0))
    grey = "grey range 0 to 4031"
    source, output = "from the file", "output: 26 planes, voxel 8 x 8 x 8 nm"
    assert told(linear(path)).lines == [
        f"input: 6 slices of 24 x 28 px, uint16, {grey}, voxel 40 x 8 x 8 nm (z, y, x), {source}; "
        f"{output}"
    ]
    given = linear(path, data__voxel_nm=(30.0, 10.0, 10.0), data__missing=(1, 3))
    line = told(given).lines[0]
    assert "6 slices (2 missing) of" in line and "30 x 10 x 10 nm (z, y, x), as given" in line
    half = dataclasses.replace(open_volume(path), place=Place((20.0, 4.0, 4.0)))  # corner at 0
    assert "starting" not in summarise(prepare(linear(path), volume=half).observed).lines[0]
    crop = told(linear(path, data__crop="2:6,:,4:28")).lines[0]
    assert crop.endswith("output: 16 planes, voxel 8 x 8 x 8 nm, starting at 80, 0, 32 nm")


def test_notes_of_the_reader_are_told(tmp_path, monkeypatch):
    changed_when_opened(monkeypatch, notes=("axes xyz are turned", "spacing is in nm"))
    summary = told(linear(make_stack(tmp_path / "a.ome.tif")))
    assert summary.lines[1:] == ["read: axes xyz are turned", "read: spacing is in nm"]
    assert summary.notes()["read"] == "axes xyz are turned; spacing is in nm"


def test_a_size_of_ones_is_refused_for_a_stack_and_doubted_of_an_isotropic_volume(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (9, 24, 24), dtype=np.uint8)
    path = write(tmp_path / "a.ome.tif", values, (1000.0,) * 3)
    with pytest.raises(ValueError, match="got 1 x 1 x 1 micrometer, which programs write"):
        train_and_evaluate(linear(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(eg.InputError, match="1 x 1 x 1 micrometer"):
        eg.fit(path, config="linear")
    (warning,) = told(linear(path, data__simulate_factor=4)).warnings
    assert warning.startswith("voxel size 1 x 1 x 1 micrometer is what programs write")
    (warning,) = told(linear(path, data__voxel_nm=(1e3, 1e3, 1e3))).warnings
    assert warning.startswith("slices lie 1 px (1000 nm, px of 1000 nm) apart")
    assert open_volume(path).voxel_nm == (1000.0,) * 3


def test_absent_chunks_are_counted_once_and_told_again(tmp_path, monkeypatch, capsys):
    count, asked = counting((3, 64))
    changed_when_opened(monkeypatch, _absent=count, notes=("a word on it",))
    config = linear(make_stack(tmp_path / "a.ome.zarr"), data__crop="1:6,:,:20")
    for start in ("first", "again"):
        train_and_evaluate(config, tmp_path / "run")
        out, err = capsys.readouterr()
        lines = err.splitlines()
        assert out == "" and lines[1:3] == ["read: a word on it", ABSENT], start
        assert lines[0].startswith("input: 5 slices of") and lines[3].startswith("blocks: 1")
    assert asked == [(slice(1, 6), slice(0, 24), slice(0, 20))]
    assert read_absent(tmp_path / "run") == (3, 64)
    report = (tmp_path / "run" / "report" / "report.html").read_text()
    for row in ("<td>input</td><td>5 slices", "<td>grey range</td><td>0 to 255</td>",
                f"<td>warnings</td><td>{ABSENT.removeprefix('warning: ')}</td>",
                "<td>read</td><td>a word on it</td>"):  # fmt: skip
        assert row in report
    fit = eg.load(tmp_path / "run")
    fit.save(tmp_path / "fit.safetensors")
    for one in (fit, eg.load(tmp_path / "fit.safetensors")):
        assert one.summary == [lines[0], "read: a word on it", ABSENT]
        assert one.place.centre_nm == (40, 0, 0)
    assert len(asked) == 1
    path = tmp_path / "more.ome.zarr"
    job = Job(str(tmp_path / "run"), False, str(path), ("factor", 2.0), "")
    run_job(open_run(job), job, alone())
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("absent", "changes", "match"),
    [
        ((64, 64), {}, "got all of 64 absent, wanted some"),
        ((3, 64), {"data__require_all_chunks": True}, "got 3 of 64 absent, wanted every one"),
    ],
)
def test_absent_chunks_may_be_refused(absent, changes, match, tmp_path, monkeypatch):
    changed_when_opened(monkeypatch, _absent=lambda box: absent)
    with pytest.raises(ValueError, match=match):
        train_and_evaluate(linear(make_stack(tmp_path / "a.ome.zarr"), **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_network_learns_from_besides_is_told_too(tmp_path, monkeypatch, capsys):
    first, second = (make_stack(tmp_path / f"{name}.ome.tif") for name in "ab")
    changed_when_opened(monkeypatch, _absent=lambda box: (3, 64))
    monkeypatch.setattr("emgauss_jax.train.finish", lambda run, workdir, executor: workdir)
    train_and_evaluate(tiny_niiv(first, second), tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("input: 6 slices") and lines[1] == lines[3] == ABSENT
    assert lines[2] == (
        f"input, too: {second}: 6 slices of 24 x 28 px, uint8, voxel 40 x 10 x 10 nm (z, y, x), "
        "from the file"
    )
    changed_when_opened(monkeypatch, _absent=lambda box: (64, 64))
    with pytest.raises(ValueError, match="got all of 64 absent"):
        train_and_evaluate(tiny_niiv(first, second), tmp_path / "other")


def test_from_python_the_summary_is_kept_and_warnings_are_warned_of(tmp_path, capsys):
    values = np.arange(4, dtype=np.float32)[:, None, None] + np.zeros((1, 12, 12), np.float32)
    with pytest.warns(UserWarning, match="slices lie 1 px") as caught:
        fit = eg.fit(values, voxel_nm=(10, 10, 10), config="linear", data__crop="1:4,:,2:")
    assert [each.filename for each in caught] == [__file__]
    assert fit.summary[0] == (
        "input: 3 slices of 12 x 10 px, float32, grey range 1 to 3, voxel 10 x 10 x 10 nm "
        "(z, y, x), as given; output: 3 planes, voxel 10 x 10 x 10 nm, starting at 10, 0, 20 nm"
    )
    assert fit.summary[1].startswith("warning: slices lie 1 px")
    assert fit.place.centre_nm == (10, 0, 20)
    with pytest.warns(UserWarning, match="slices lie 0.5 px"):
        flat = eg.fit(values, voxel_nm=(5, 10, 10), config="linear")
    assert "output" not in flat.summary[0]  # drawn at chosen depths alone
    with pytest.warns(UserWarning, match="slices lie 1 px") as caught:
        eg.reconstruct(values, voxel_nm=(10, 10, 10), config="linear")
    assert [each.filename for each in caught] == [__file__]
    assert capsys.readouterr().out == ""


def test_a_sweep_tells_each_volume_once_and_its_units_what_was_found(tmp_path, monkeypatch, capsys):
    count, asked = counting((3, 64))
    changed_when_opened(monkeypatch, _absent=count)
    path = make_stack(tmp_path / "a.ome.tif", shape=(9, 24, 28), voxel_nm=(10.0, 10.0, 10.0))
    configs = [linear(path, data__simulate_factor=k, train__steps=n) for k, n in
               ((4, 1), (4, 2), (2, 1))]  # fmt: skip
    configs.append(linear("nowhere.tif", data__simulate_factor=2))
    trials = [
        Trial(f"row {i}", {}, config.copy_and_resolve_references(), hyper_of(config))
        for i, config in enumerate(configs)
    ]
    seen = []

    def work(function, batches):
        for batch in batches:
            seen.append(batch.known)
            yield batch, function(batch)

    table = run_sweep(trials, group(trials), tmp_path / "sweep", work)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:15] for line in lines if line.startswith("input")] == [
        "input: 3 slices", "input: 5 slices",
    ]  # fmt: skip
    assert lines.count(ABSENT) == len(asked) == 2
    assert [known.absent for known in seen] == [(3, 64)] * 3 + [(0, 0)]
    assert [each.failure for each in table][-4:-1] == [""] * 3
    assert "no such file" in table[-1].failure
    for row in range(3):
        report = tmp_path / "sweep" / "rows" / f"row_{row}" / "report" / "report.html"
        assert "absent chunks: 3 of 64" in report.read_text()


TURNED = Place((100.0, 200.0, 300.0), ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


@pytest.mark.parametrize(
    ("changes", "z", "plane"),
    [
        ({"data__simulate_factor": 0}, 0.0, 2),
        ({"data__simulate_factor": 0}, 1.5, 3.5),
        ({"data__simulate_factor": 4}, 0.0, 2),
        ({"data__simulate_factor": 4}, 0.75, 5),
        # the first slice is the mean of planes 2 to 5, the first plane is its first one
        ({"data__simulate_factor": 4, "data__degradation": "average"}, -0.375, 2),
        ({"data__simulate_factor": 4, "data__degradation": "average"}, 0.0, 3.5),
    ],
)
def test_a_plane_lies_over_the_plane_of_the_volume_that_it_shows(changes, z, plane, tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (19, 24, 24), dtype=np.uint8)
    path = write(tmp_path / "a.ome.tif", values, (20.0, 10.0, 5.0))
    config = linear(path, data__crop="2:18,3:24,4:24", **changes)
    for place, direction in ((Place((100.0, 200.0, 300.0)), 1), (TURNED, -1)):
        volume = dataclasses.replace(open_volume(path), place=place)
        observed = prepare(config, volume=volume).observed
        want = (100 + direction * plane * 20, 200 + 3 * 10, 300 + 4 * 5)
        np.testing.assert_allclose(observed.place_at(z).centre_nm, want)
        assert observed.place_at(z).axes == place.axes
        start = isotropic(observed).z[0]
        assert place_of(observed, isotropic(observed)) == observed.place_at(start)
        if z >= 0:
            asked = at_depths(observed, [z, z + 0.25])
            np.testing.assert_allclose(place_of(observed, asked).centre_nm, want)
            later = observed.part(Box((1, 0, 0), (2, 21, 20)))
            np.testing.assert_allclose(later.place_at(z).centre_nm, want)


def translations(path):
    """The translation of every level of an OME-Zarr image, as its JSON has them."""
    two, three = path / ".zattrs", path / "zarr.json"
    if two.exists():
        image = json.loads(two.read_text())["multiscales"][0]
    else:
        image = json.loads(three.read_text())["attributes"]["ome"]["multiscales"][0]
    return [entry["coordinateTransformations"][1]["translation"] for entry in image["datasets"]]


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_the_output_lies_where_the_crop_did(form, tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (7, 30, 100), dtype=np.uint8)
    path = tmp_path / "a.ome.zarr"
    with eg.create_volume(path, values.shape, values.dtype, (40.0, 10.0, 10.0), format=form) as w:
        w[:, :, :] = values
    config = linear(path, data__crop="1:7,5:30,10:100")
    output = train_and_evaluate(config, tmp_path / "run")
    # the second level averages two voxels along each axis
    assert translations(output) == [[40.0, 50.0, 100.0], [45.0, 55.0, 105.0]]
    outputs = [tmp_path / "planes.zarr", tmp_path / "errors.zarr"]
    job = Job(str(tmp_path / "run"), False, str(outputs[0]), ("z", (1.5, 2.0)), str(outputs[1]))
    run_job(open_run(job), job, alone())
    for each in outputs:
        assert translations(each)[0] == [40 + 1.5 * 40, 50.0, 100.0]


def test_the_output_of_averaged_slices_lies_on_their_planes(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (13, 24, 26), dtype=np.uint8)
    path = write(tmp_path / "a.ome.zarr", values)
    config = linear(
        path, data__crop="1:13,:,:", data__simulate_factor=4, data__degradation="average"
    )
    output = train_and_evaluate(config, tmp_path / "run")
    assert translations(output)[0] == [10.0, 0.0, 0.0]
    assert open_volume(output).shape == (12, 24, 26)


def test_a_file_that_one_process_writes_is_given_its_place(tmp_path, monkeypatch):
    given = []

    def create(*args, place, **named):
        given.append(place.centre_nm)
        return eg.create_volume(*args, place=place, **named)

    monkeypatch.setattr(writing, "create_volume", create)
    path = make_stack(tmp_path / "a.ome.tif")
    train_and_evaluate(linear(path, data__crop="2:6,:,:"), tmp_path / "run")
    assert given == [(80.0, 0.0, 0.0)]


def test_the_command_says_it_before_anything_else(tmp_path, capsys):
    train_and_evaluate(linear(make_stack(tmp_path / "a.ome.tif")), tmp_path / "run")
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert re.match("input: 6 slices of 24 x 28 px, uint8", first)
    assert second.startswith("blocks: ")


@pytest.mark.parametrize(
    ("name", "off"),
    [("o.ome.zarr", ""), ("o.precomputed", "lies 0, 0, -2 nm"), ("o.npy", "lies -20, -4, -6 nm")],
)
def test_an_output_whose_format_cannot_say_where_it_lies_is_told(name, off, tmp_path):
    """precomputed counts whole voxels from their corners, NPY stores nothing."""
    values = np.zeros((3, 24, 28), np.uint8)
    values[::2] = 255
    path, place = (
        tmp_path / "a.ome.zarr",
        Place((20.0, 4.0, 6.0)),
    )  # corners at 2, 0 and 0.25 voxels
    with create_volume(path, values.shape, "uint8", (32.0, 8.0, 8.0), place=place) as writer:
        writer[:] = values
    observed = prepare(linear(path)).observed
    grid = isotropic(observed)
    output, shape = tmp_path / name, (len(grid.z), 24, 28)
    where = place_of(observed, grid)
    with create_volume(output, shape, "uint8", grid.voxel_nm, place=where) as writer:
        writer[:] = np.zeros(shape, np.uint8)
    note = place_note(output, observed, grid)
    assert off in note and bool(off) == bool(note)
