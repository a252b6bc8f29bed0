"""The plan of a simulated degradation, and that held-out planes are never read."""

import numpy as np
import pytest

from emgauss_jax.data.simulate import degrade_plan, parse_crop, plan_part, read_observed
from emgauss_jax.data.tiling import Box


class RecordingVolume:
    """A volume that remembers which voxels were read."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype
        self.read = np.zeros(array.shape, bool)

    def __getitem__(self, index):
        self.read[index] = True
        return self.array[index]


@pytest.fixture
def volume():
    rng = np.random.default_rng(3)
    return RecordingVolume(rng.integers(0, 65536, (24, 6, 7), np.uint16))


def test_subsample_plan_cuts_to_the_last_observed_plane():
    plan = degrade_plan(24, 5)  # planes 0, 5, 10, 15, 20; 21 to 23 are cut
    assert [list(r) for r in plan.sources] == [[0], [5], [10], [15], [20]]
    np.testing.assert_allclose(plan.z_reference, np.arange(21) / 5)
    np.testing.assert_array_equal(np.flatnonzero(~plan.hidden), [0, 5, 10, 15, 20])
    assert plan.valid.all()
    assert plan.profile.is_plane and plan.profile.offsets == (0.0,)


def test_average_plan_places_planes_around_slice_centres():
    plan = degrade_plan(25, 8, "average")
    assert [list(r) for r in plan.sources] == [list(range(8 * j, 8 * j + 8)) for j in range(3)]
    # Plane 0 of 8 lies 3.5 planes under the centre of slice 0.
    np.testing.assert_allclose(plan.z_reference[:8], np.linspace(-3.5, 3.5, 8) / 8)
    np.testing.assert_allclose(plan.z_reference.reshape(3, 8).mean(axis=1), [0, 1, 2], atol=1e-12)
    assert plan.hidden.all()
    assert not plan.profile.is_plane and len(plan.profile.offsets) == 8


def test_missing_slice_is_invalid_and_scored():
    plan = degrade_plan(17, 4, missing=(2,))
    np.testing.assert_array_equal(plan.valid, [True, True, False, True, True])
    np.testing.assert_array_equal(np.flatnonzero(~plan.hidden), [0, 4, 12, 16])
    np.testing.assert_array_equal(np.flatnonzero(plan.lost), [8])
    part = plan_part(plan, 1, 4)
    np.testing.assert_array_equal(np.flatnonzero(part.lost), [4])


def test_a_missing_mean_of_planes_is_all_of_them():
    plan = degrade_plan(12, 3, "average", missing=(1,))
    np.testing.assert_array_equal(np.flatnonzero(plan.lost), [3, 4, 5])


def test_no_simulation_observes_every_plane_and_has_no_reference(volume):
    plan = degrade_plan(24, 0, missing=[1])
    assert plan.z_reference.shape == plan.hidden.shape == (0,)
    observed = read_observed(volume, plan, Box((0, 0, 0), (24, 6, 7)))
    np.testing.assert_array_equal(observed[2:], volume.array[2:])
    assert observed.dtype == np.uint16
    np.testing.assert_array_equal(np.flatnonzero(volume.read.any(axis=(1, 2))), [0, *range(2, 24)])


def test_subsample_reads_nothing_held_out(volume):
    box = Box((2, 1, 3), (20, 4, 3))  # a crop: plane 0 of the plan is plane 2 of the volume
    plan = degrade_plan(20, 6, missing=(1,))
    observed = read_observed(volume, plan, box)
    np.testing.assert_array_equal(np.flatnonzero(volume.read.any(axis=(1, 2))), [2, 14, 20])
    assert not volume.read[:, 0].any()
    assert not volume.read[:, :, :3].any()
    np.testing.assert_array_equal(observed[[0, 2, 3]], volume.array[[2, 14, 20], 1:5, 3:6])
    assert not observed[1].any()
    assert observed.dtype == np.uint16


def test_average_reads_only_its_planes_and_takes_their_mean(volume):
    plan = degrade_plan(24, 5, "average", missing=[2])  # 4 slices, planes 20 to 23 are cut
    observed = read_observed(volume, plan, Box((0, 0, 0), (24, 6, 7)))
    read = np.flatnonzero(volume.read.any(axis=(1, 2)))
    np.testing.assert_array_equal(read, [*range(10), *range(15, 20)])
    expected = volume.array[:20].reshape(4, 5, 6, 7).astype(float).mean(axis=1)
    expected[2] = 0
    np.testing.assert_allclose(observed, expected, rtol=1e-6)
    assert observed.dtype == np.float32


def test_read_refuses_a_box_of_another_depth(volume):
    with pytest.raises(ValueError, match="box depth: got 20, wanted 24"):
        read_observed(volume, degrade_plan(24, 4), Box((0, 0, 0), (20, 6, 7)))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ((24, -2), "simulate_factor: got -2"),
        ((24, 1), "simulate_factor: got 1"),
        ((24, 2.5), "simulate_factor: got 2.5"),
        ((24, 24), "observed slices: got 1 from 24 planes"),
        ((15, 8, "average"), "observed slices: got 1 from 15 planes"),
        ((3, 8, "average"), "observed slices: got 0 from 3 planes"),
        ((1, 0), "observed slices: got 1 from 1 planes"),
        ((24, 4, "blur"), "degradation: got 'blur'"),
        ((24, 0, "average"), "degradation: got 'average'"),
        ((24, 4, "subsample", [6]), r"missing: got \[6\], wanted .* 0 to 5"),
        ((24, 4, "subsample", [-1]), r"missing: got \[-1\]"),
        ((24, 4, "subsample", [2, 2]), r"missing: got \[2, 2\]"),
        ((9, 4, "subsample", [0, 1]), r"missing: got \[0, 1\] of 3 slices"),
    ],
)
def test_bad_settings_are_one_clear_line(settings, names):
    with pytest.raises(ValueError, match=names) as error:
        degrade_plan(*settings)
    assert "wanted" in str(error.value)
    assert "\n" not in str(error.value)


def test_smallest_plans_that_work():
    assert len(degrade_plan(9, 8).sources) == 2
    assert len(degrade_plan(16, 8, "average").sources) == 2


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("", Box((0, 0, 0), (10, 20, 30))),
        ("1:4,2:20,29:30", Box((1, 2, 29), (3, 18, 1))),
        (":,5:,:7", Box((0, 5, 0), (10, 15, 7))),
        (":,0:12,", Box((0, 0, 0), (10, 12, 30))),
    ],
)
def test_parse_crop(text, box):
    assert parse_crop(text, (10, 20, 30)) == box


@pytest.mark.parametrize("text", ["0:4", "0:11,:,:", "-2:4,:,:", "4:4,:,:", "a:4,:,:", "1:2:3,:,:"])
def test_bad_crop_is_one_clear_line(text):
    with pytest.raises(ValueError, match=r"crop: got .*wanted") as error:
        parse_crop(text, (10, 20, 30))
    assert "\n" not in str(error.value)
