"""Files are whole or not there."""

import pytest

from emgauss_jax.data.atomic import whole


def test_a_file_is_replaced_once_it_is_written(tmp_path):
    path = tmp_path / "folder" / "file.json"
    with whole(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_cut_short_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("first")
    with pytest.raises(KeyboardInterrupt), whole(path) as partial:
        partial.write_text("sec")
        raise KeyboardInterrupt
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]  # nothing is left of the new one
