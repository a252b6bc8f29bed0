"""Damaged files that once ended in a traceback or ended the process, see `benchmarks/fuzz.py`."""

import pytest

from tests.benchmarks import fuzz
from tests.benchmarks.fuzz_samples import SAMPLES

ONCE_FAILED = [
    ("hdf5", 1376),
    ("hdf5", 12498),  # HDF5 itself died of a dimension's label
    *(
        ("workdir", seed)
        for seed in (439, 1285, 1483, 1945, 2033, 2099, 3247, 10021, 10659, 10769, 11451)
    ),
]


@pytest.mark.parametrize(("form", "seed"), ONCE_FAILED)
def test_what_once_failed_is_read_or_refused_in_a_line(form, seed, tmp_path):
    assert fuzz.looked_at(form, tmp_path, seed) in fuzz.OUTCOMES[:3]


@pytest.mark.parametrize("form", SAMPLES)
def test_a_sample_is_read_as_it_is_before_it_is_damaged(form, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "damage", lambda path, rng: None)
    assert fuzz.looked_at(form, tmp_path, 0) == fuzz.OUTCOMES[0]


def test_a_fault_is_told_from_a_refusal(tmp_path, monkeypatch):
    def broken(path, rng):
        raise RuntimeError("of the program")

    monkeypatch.setattr(fuzz, "damage", broken)
    with pytest.raises(RuntimeError):
        fuzz.looked_at("mrc", tmp_path, 0)
