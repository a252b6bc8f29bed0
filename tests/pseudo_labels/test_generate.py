"""A network of other stacks as a teacher of EMGauss."""

import json

import jax
import numpy as np
import pytest

from emgauss_jax.data.volume import open_volume
from emgauss_jax.execution.executors import alone
from emgauss_jax.execution.jobs import Job, open_run, run_job
from emgauss_jax.methods.registry import AxialSampling
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.pseudo_labels.generate import counted
from emgauss_jax.pseudo_labels.sources import trained_network
from emgauss_jax.storage import network_file
from emgauss_jax.storage.run_dir import claim_workdir
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import fake_network, make_stack, tiny, tiny_niiv


def emgauss(path, teacher):
    config = tiny(data__path=path, data__simulate_factor=0, prior__flow=True)
    config.prior.network = str(teacher)
    return config


@pytest.mark.slow
def test_a_network_of_other_stacks_teaches(tmp_path):
    """Its planes are weighed with the rest; once labels are made it is needed no more."""
    first, second = make_stack(tmp_path / "a.ome.tif"), make_stack(tmp_path / "b.ome.tif", 1)
    claim_workdir(tmp_path / "network", tiny_niiv(first))
    fake_network(tmp_path / "network", tiny_niiv(first))
    config = emgauss(second, tmp_path / "network")
    output = train_and_evaluate(config, tmp_path / "run")
    trust = json.loads((tmp_path / "run" / "prior" / "weights.json").read_text())
    assert set(trust["weights"]) == {"interpolation", "flow", "trained network"}
    assert set(trust["wide_weights"]) == {"interpolation", "flow"}
    (tmp_path / "network" / network_file.FILE).unlink()
    job = Job(str(tmp_path / "run"), False, str(tmp_path / "again.ome.tif"), None, "")
    run_job(open_run(job), job, alone())
    again = open_volume(tmp_path / "again.ome.tif")[:, :, :]
    np.testing.assert_array_equal(again, open_volume(output)[:, :, :])


@pytest.mark.slow
def test_a_network_that_teaches_is_asked_for_planes_slab_by_slab(tmp_path):
    path = make_stack(tmp_path / "a.ome.tif", shape=(20, 24, 28))
    train_and_evaluate(tiny_niiv(path), tmp_path / "network")
    config = emgauss(path, tmp_path / "network" / network_file.FILE)  # its file is enough
    run = prepare(config)
    depths = run.label_template.depths(len(run.observed.z_valid))
    stack = counted(run.observed.unit_valid)
    found = run.label_template.sources["trained network"].fill_in(None, stack, depths)
    assert len(depths) == 77  # more than one slab
    sampling = AxialSampling(4.0, run.observed.plan.profile)
    method, params = trained_network.open_network(tmp_path / "network", sampling)
    draw = jax.jit(method.predict_with_error)
    want = draw(params, stack, depths.astype(np.float32))
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_network_that_cannot_teach(tmp_path):
    first = make_stack(tmp_path / "a.ome.tif")
    fake_network(tmp_path / "averaged", tiny_niiv(first, data__degradation="average"))
    claim_workdir(tmp_path / "unfitted", tiny_niiv(first))
    for name, match in (
        ("nowhere", "got no fitted network"),
        ("averaged", "trained on 'average' slices, wanted 'subsample'"),
        ("unfitted", "got no fitted network"),
    ):
        with pytest.raises(ValueError, match=match):
            train_and_evaluate(emgauss(first, tmp_path / name), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_fit_without_the_weights_of_its_labels_is_refused_before_anything_is_drawn(tmp_path):
    """As that of an older version, or a damaged one: in one line, nothing begun."""
    config = tiny(data__path=make_stack(tmp_path / "a.ome.tif"), data__simulate_factor=0)
    config.prior.flow = True
    train_and_evaluate(config, tmp_path / "run")
    (tmp_path / "run" / "prior" / "weights.json").rename(tmp_path / "outcome.json")
    before = sorted(path.name for path in (tmp_path / "run").rglob("*"))
    with pytest.raises(ValueError, match=r"without its prior/weights\.json.*fit again"):
        train_and_evaluate(config, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == before
    (tmp_path / "run" / "prior").rename(tmp_path / "moved")
    (tmp_path / "run" / "prior").symlink_to("nowhere")  # as of a trial without its sweep
    with pytest.raises(ValueError, match=r"without its prior/weights\.json"):
        train_and_evaluate(config, tmp_path / "run")
