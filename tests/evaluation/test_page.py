"""What stands in the templates, and that what is put into them is shown as it is."""

from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import UndefinedError

from emgauss_jax.evaluation import page, tables
from emgauss_jax.evaluation.sweep_table import Entry, to_html

NAME = """<i title="a">&amp; 'b' </td>"""


class Reader(HTMLParser):
    """What a browser would find: tags, text and attributes, decoded."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.attributes = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [value for _, value in attrs]

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture(scope="module")
def report():
    """A report with every part, in which all that can be a name is NAME."""
    volumes = {NAME: np.zeros((3, 4, 4)), "reference": np.ones((3, 4, 4))}
    hidden = np.array([False, True, False])
    planes = page.draw_planes(volumes, (NAME, "reference"), hidden, np.ones(3), volumes[NAME])
    score = tables.tabulate({NAME: {"psnr": 1.0}}, tables.MISSING)
    seams = {NAME: {"border": None, "elsewhere": 2.0}}
    known = {"correlation": 1.0, "ratio": 2.0}
    return page.Report(NAME, NAME, planes, {NAME: NAME}, NAME, [score], score, seams, known, NAME)


def test_a_name_is_shown_as_text_wherever_it_stands_in_the_report(report):
    found = Reader(page.render("report.html", **report._asdict()))
    assert "i" not in found.tags
    # Title, heading, verdict, a row of scores, of missing slices and of seams, a caption for each
    # of three planes, the name and the value of a note.
    assert found.texts.count(NAME) == 6 + 3 + 2
    assert sum(text.startswith(f"|{NAME} - reference|") for text in found.texts) == 3 + 1
    assert {f"{NAME}, {direction}" for direction in ("xy", "xz", "yz")} < set(found.attributes)
    assert NAME in found.attributes  # where the picture of curves belongs


def test_a_name_is_shown_as_text_wherever_it_stands_in_the_table_of_a_sweep():
    entries = [Entry(NAME, {NAME: NAME}, failure=NAME), Entry("other", link=NAME)]
    found = Reader(to_html(NAME, entries))
    assert "i" not in found.tags
    # Title, heading, name of a setting, of a row, value, failure; the setting's title and the link.
    assert found.texts.count(NAME) == 6 and found.attributes.count(NAME) == 2


def test_a_template_is_not_filled_in_with_a_part_absent(report):
    data = report._asdict()
    assert "Seams between blocks" in page.render("report.html", **data)
    del data["seams"]
    with pytest.raises(UndefinedError, match="'seams' is undefined"):
        page.render("report.html", **data)
