"""Weights are what least squares say; a mixture's deviation counts all that enters it."""

import numpy as np
import pytest

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods.lateral_pairs import halve
from emgauss_jax.pseudo_labels.registry import BASE
from emgauss_jax.pseudo_labels.source import Filled
from emgauss_jax.pseudo_labels.weights import describe, judging_slices, least_squares, mix, weigh


def independent(count, size=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 4, size, size)).astype(np.float32)


def test_independent_errors_are_weighed_by_their_variance():
    """The best mixture of unbiased guesses weighs each by one over its variance."""
    truth, *noise = independent(4)
    sizes = {BASE: 0.4, "flow": 0.2, "network": 0.2}
    filled = {
        name: Filled(truth + size * one, np.full_like(truth, size))
        for (name, size), one in zip(sizes.items(), noise, strict=True)
    }
    judged = weigh(filled, truth, {"network"})
    assert judged.weights == pytest.approx({BASE: 1 / 9, "flow": 4 / 9, "network": 4 / 9}, abs=0.03)
    assert judged.wide_weights == pytest.approx({BASE: 1 / 5, "flow": 4 / 5}, abs=0.03)
    # 1 / sigma² add up: 0.1333 is the deviation of the mixture.
    want = {BASE: 0.4, "flow": 0.2, "network": 0.2, "all": 0.4 / 3}
    for name, deviation in want.items():
        assert judged.decibel[name] == pytest.approx(-20 * np.log10(deviation), abs=0.3)
    assert "flow 0.4" in describe(judged)


def test_the_scale_is_the_error_by_what_was_expected():
    truth, noise = independent(2)
    filled = {BASE: Filled(truth + noise, np.full_like(truth, 0.25))}
    judged = weigh(filled, truth)  # noise of deviation 1, of which a quarter was expected
    assert judged.scale == judged.wide_scale == pytest.approx(4.0, rel=0.02)


def test_weights_are_the_best_there_are():
    """Correlated errors, of which the worst must be left out: against every mixture in steps."""
    truth, common, *noise = independent(5)
    guesses = [common + 0.5 * noise[0], common + 0.4 * noise[1], 1.5 * common + noise[2]]
    filled = {
        name: Filled(truth + guess, np.zeros_like(truth))
        for name, guess in zip((BASE, "flow", "network"), guesses, strict=True)
    }
    steps = np.linspace(0, 1, 51)
    tried = {(a, b): (a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9}

    def error(weights):
        return np.square(sum(w * g for w, g in zip(weights, guesses, strict=True))).mean()

    best = min(tried.values(), key=error)
    found = least_squares(filled, truth)
    assert best[2] == pytest.approx(0.0, abs=1e-9) and found["network"] < 1e-3
    assert list(found.values()) == pytest.approx(best, abs=0.021)
    assert sum(found.values()) == pytest.approx(1.0) and min(found.values()) >= 0


def test_what_is_wrong_is_not_believed():
    truth, base, other = independent(3)
    worse = Filled(truth + base + other, 0 * truth)
    filled = {BASE: Filled(truth + base, 0 * truth), "flow": worse}
    assert weigh(filled, truth).weights["flow"] < 0.05


def test_what_halves_the_step_is_believed_but_not_beyond_it():
    """Least squares would go twice as far; weights sum to 1."""
    truth = independent(1)[0]
    filled = {BASE: Filled(0 * truth, 0 * truth), "flow": Filled(truth / 2, 0 * truth)}
    assert weigh(filled, truth).weights == pytest.approx({BASE: 0.0, "flow": 1.0})


def test_a_mixture_is_as_uncertain_as_what_enters_it():
    ones = np.ones((2, 3, 3), np.float32)
    filled = {BASE: Filled(0 * ones, 0 * ones), "flow": Filled(ones, 2 * ones)}
    half = np.full((2, 1, 1), 0.5)
    mixed = mix(filled, {BASE: half, "flow": half})
    np.testing.assert_allclose(mixed.mean, 0.5)
    # Two points 1 apart have the variance 1/4; one of them one of its own, of 4.
    np.testing.assert_allclose(mixed.spread, np.sqrt(0.25 + 0.5 * 4))


def test_slices_to_judge_on():
    assert judging_slices(np.arange(7), THIN).tolist() == [1, 3, 5]
    assert judging_slices(np.arange(6), averaged(4)).tolist() == [0, 1, 2, 3, 4, 5]
    assert judging_slices(np.array([0, 1, 2, 4, 5, 6, 7]), THIN).tolist() == [1, 5]
    assert judging_slices(np.arange(4), THIN).size == 0


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_half_the_resolution(profile):
    slices = np.arange(5, dtype=np.float32)[:, None, None] + np.zeros((5, 8, 6), np.float32)
    fine = np.asarray(halve(slices))
    coarse, held_out = profile.coarsen(fine), fine[judging_slices(np.arange(5), profile)]
    assert coarse.shape[1:] == fine.shape[1:] == (4, 3)
    assert coarse[:, 0, 0].tolist() == ([0, 2, 4] if profile.is_plane else [0.5, 2.5])
    assert fine[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert held_out[:, 0, 0].tolist() == ([1, 3] if profile.is_plane else [0, 1, 2, 3])
