"""What enters the labels, where each is believed, and how wrong they say they are."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.opening import open_stack
from emgauss_jax.methods import interpolate, optical_flow
from emgauss_jax.metrics.calibration import Moments, add_errors, calibration_of
from emgauss_jax.pseudo_labels.generate import generate
from emgauss_jax.pseudo_labels.store import read_labels
from emgauss_jax.pseudo_labels.template import label_template, why_no_pseudo_labels
from emgauss_jax.pseudo_labels.uncertainty import standard_error
from tests.tiny_runs import default, write


def config_of(volume, path, **changes):
    config = default()
    config.data.path = str(write(path, volume))
    config.data.simulate_factor = 4
    config.prior.flow = False
    config.prior.steps = 100
    config.prior.probe_steps = 20
    config.prior.rate = (4e-3, 0.05)
    config.lateral = dict(features=8, blocks=1, batch=4, rows=5, columns=24)
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def blobs(sigma):
    """Bright and dark blobs of a size of their own along each axis, uint8."""
    volume = gaussian_filter(np.random.default_rng(0).normal(size=(33, 40, 40)), sigma)
    return (128 + 80 * np.tanh(3 * volume / volume.std())).astype(np.uint8)


def labelled(config, workdir):
    observed = open_stack(config.data)
    return observed, generate(label_template(config, observed), observed, workdir)


def interpolated(observed, z, name):
    block = interpolate.Block(observed.unit_slices, observed.z, observed.plan.valid)
    return interpolate.baselines(block, z, (name,))[name]


@pytest.mark.parametrize(
    "degradation", ["subsample", pytest.param("average", marks=pytest.mark.slow)]
)
def test_believed_where_all_directions_are_alike(degradation, tmp_path):
    config = config_of(blobs(2.0), tmp_path / "v.ome.tif", data__degradation=degradation)
    observed, labels = labelled(config, tmp_path / "run")
    name = "linear_blur" if observed.plan.profile.is_plane else "cubic_mean"
    base = interpolated(observed, labels.z, name)
    reference = observed.reference()
    np.testing.assert_allclose(labels.z, observed.plan.z_reference, atol=1e-6)
    assert labels.planes.shape == reference.shape

    def error(planes):
        return np.mean((planes - reference)[observed.plan.hidden] ** 2)

    again = read_labels(tmp_path / "run", labels.z, labels.per_slice)
    np.testing.assert_array_equal(again.planes, labels.planes)
    assert again.judged == labels.judged
    assert labels.judged.weights["network"] > 0.3
    assert error(labels.planes) < (0.95 if observed.plan.profile.is_plane else 0.99) * error(base)


def test_not_believed_where_depth_is_unlike_the_rest(tmp_path):
    """Along z every plane is new: nothing beats the mean of what is there."""
    config = config_of(blobs((0.0, 2.0, 2.0)), tmp_path / "v.ome.tif")
    _, labels = labelled(config, tmp_path / "run")
    assert labels.judged.weights["network"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("with_flow", [False, True])
def test_the_network_is_not_asked_where_a_slice_is_missing(with_flow, tmp_path):
    config = config_of(blobs(2.0), tmp_path / "v.ome.tif", data__missing=(3,))
    config.prior.flow = with_flow
    observed, labels = labelled(config, tmp_path / "run")
    want = interpolated(observed, labels.z, "linear_blur")
    if with_flow:
        place = np.interp(labels.z, observed.z_valid, np.arange(len(observed.z_valid)))
        along, _ = optical_flow.fill_in(observed.unit_valid, np.float32(place))
        share = labels.judged.wide_weights["flow"]
        assert share > 0.2
        want = (1 - share) * want + share * along
    wide = (labels.z > 2) & (labels.z < 4)
    np.testing.assert_allclose(labels.planes[wide], want[wide], atol=1e-3)
    assert np.abs(labels.planes[~wide] - want[~wide]).max() > 1e-2


def test_the_flow_alone(tmp_path):
    config = config_of(blobs(2.0), tmp_path / "v.ome.tif", prior__flow=True, prior__steps=0)
    observed, labels = labelled(config, tmp_path / "run")
    assert set(labels.judged.weights) == {"interpolation", "flow"}
    assert labels.judged.weights["flow"] > 0.2
    error = np.square(labels.planes - observed.reference())[observed.plan.hidden].mean()
    base = interpolated(observed, labels.z, "linear_blur")
    assert error < np.square(base - observed.reference())[observed.plan.hidden].mean()
    assert not (tmp_path / "run" / "prior" / "fits").exists()
    config.data.degradation = "average"  # the flow knows thin slices alone
    assert "averaged slices" in why_no_pseudo_labels(config, open_stack(config.data))


OBSTACLES = {
    "off": {"prior.steps": 0, "prior.flow": False},
    "wanted 5": {"data.crop": "0:13,:,:"},
    "without a missing neighbour": {"data.missing": (1, 3, 5, 7)},
    "missing slice among averaged": {"data.missing": (3,), "data.degradation": "average"},
    "wanted 18 px": {"data.crop": ":,0:16,:"},
    "z 1.5 times": {"data.voxel_nm": (3.0, 10.0, 10.0)},
}


@pytest.mark.parametrize("why", OBSTACLES)
def test_no_prior_where_there_is_nothing_to_learn_from(why, tmp_path):
    config = config_of(blobs(2.0), tmp_path / "v.ome.tif")
    config.update_from_flattened_dict(OBSTACLES[why])
    observed = open_stack(config.data)
    assert why in why_no_pseudo_labels(config, observed)


def test_bad_settings(tmp_path):
    config = config_of(blobs(2.0), tmp_path / "v.ome.tif", prior__probe_steps=0)
    with pytest.raises(ValueError, match="probe_steps 0, wanted"):
        why_no_pseudo_labels(config, open_stack(config.data))


@pytest.mark.parametrize("source", ["slices", "network", "flow"])
def test_follows_the_true_error(source, tmp_path):
    """Where contrast differs over the field the error does, and the estimate knows."""
    ripple = 0.1 + np.sin(np.linspace(0, 2 * np.pi, 40)) ** 2
    volume = (128 + (blobs(2.0) - 128.0) * ripple).clip(0, 255).astype(np.uint8)
    steps, with_flow = 100 * (source == "network"), source == "flow"
    config = config_of(volume, tmp_path / "v.ome.tif", prior__steps=steps, prior__flow=with_flow)
    observed = open_stack(config.data)
    labels = None
    if source != "slices":
        labels = generate(label_template(config, observed), observed, tmp_path / "run")
    z, hidden = observed.plan.z_reference, observed.plan.hidden
    estimate = standard_error(observed, labels)(z)
    assert estimate.shape == volume.shape and estimate.dtype == np.float32
    np.testing.assert_allclose(estimate[~hidden], 0.0, atol=1e-3)
    planes = labels.planes if labels else interpolated(observed, z, "linear")
    error, whole = planes - observed.reference(), (slice(None), slice(None))
    measured = calibration_of(add_errors(Moments(), estimate[hidden], error[hidden], whole))
    assert measured["correlation"] > 0.4
    assert 0.5 < measured["ratio"] < 2


@pytest.mark.parametrize("with_flow", [False, True])
def test_a_wider_gap_is_less_certain_and_what_lies_beyond_the_stack_too(with_flow, tmp_path):
    config = config_of(blobs(2.0), tmp_path / "v.ome.tif", data__missing=(3, 8), prior__steps=0)
    config.prior.flow = with_flow
    observed = open_stack(config.data)
    labels = None
    if with_flow:
        labels = generate(label_template(config, observed), observed, tmp_path / "run")
    depths = np.array([1.5, 2.5, 3.0, 3.5, 4.5, 7.0, 7.5, 8.0])
    mean = standard_error(observed, labels)(depths).mean(axis=(1, 2))
    assert mean[2] > max(mean[0], mean[4])
    assert mean[5] < 1e-3 < mean[6] < mean[7]  # slice 7 is the last valid one
