"""SIGTERM is put off while something is saved, and never lost."""

import signal

import pytest

from emgauss_jax.training.preemption import Preempted, telling, watched


@pytest.fixture
def ends():
    """Every SIGTERM that would have ended the process."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append("end"))
    yield came
    signal.signal(signal.SIGTERM, before)


def test_what_has_been_saved_ends_as_preempted_and_not_twice(ends):
    told = []
    with pytest.raises(Preempted), watched(lambda: told.append("handed on")) as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGTERM)
        assert stopped() and told == ["handed on"] and not ends
        raise Preempted
    assert not ends


@pytest.mark.parametrize("error", [None, ValueError("failed")])
def test_a_signal_that_came_too_late_to_be_seen_is_not_lost(error, ends):
    try:
        with watched():
            signal.raise_signal(signal.SIGTERM)
            assert not ends
            if error:
                raise error
    except ValueError as raised:
        assert raised is error
    assert ends == ["end"]
    with watched():
        pass
    assert ends == ["end"]


def test_it_is_told_before_the_process_ends(ends):
    with telling(lambda: ends.append("told")):
        signal.raise_signal(signal.SIGTERM)
        assert ends == ["told", "end"]
