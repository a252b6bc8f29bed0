"""The table of a sweep: every score, the best in bold, sorted by a click."""

import csv
import io
import re
import shutil
import subprocess

import pytest

from emgauss_jax.evaluation.sweep_table import Entry, to_csv, to_html, to_markdown

SCORES = {"psnr": 20.0, "ssim_xy": 0.5, "fsim_xy": None, "fsc_z": 0.25, "fsc_z_res_nm_05": 90.0}
ENTRIES = [
    Entry("linear", scores=SCORES),
    Entry(
        "a <b>", {"train.steps": "2"}, SCORES | {"psnr": 9.126, "fsc_z": 0.2501}, link="a/r.html"
    ),
    Entry("c", {"rates.means": "(0.1, 1)"}, failure="step 3: got nonfinite"),
    Entry("d", {}, SCORES | {"psnr": 20.004, "ssim_xy": 0.4, "fsc_z_res_nm_05": 80.0}),
]


def test_csv_has_every_score_and_failure():
    head, *rows = csv.reader(io.StringIO(to_csv(ENTRIES)))
    assert head == ["row", "train.steps", "rates.means", *SCORES, "failure"]
    assert rows[1] == ["a <b>", "2", "", "9.126", "0.5", "", "0.2501", "90.0", ""]
    assert rows[2] == ["c", "", "(0.1, 1)", "", "", "", "", "", "step 3: got nonfinite"]


def test_the_best_is_marked_as_printed():
    lines = to_markdown(ENTRIES).splitlines()
    assert lines[2] == "| linear | **20.00** | **0.500** | n/a | n/a | **0.250** | 90 | n/a | n/a |"
    assert lines[3] == "| a <b> | 9.13 | **0.500** | n/a | n/a | **0.250** | 90 | n/a | n/a |"
    assert lines[4].startswith("| c | failed: step 3: got nonfinite |")
    assert lines[5] == "| d | **20.00** | 0.400 | n/a | n/a | **0.250** | **80** | n/a | n/a |"
    page = to_html("Title", ENTRIES)
    assert page.count("<b>") == 8 and page.count("<b>20.00</b>") == 2


def test_html_has_a_sortable_cell_in_every_column():
    page = to_html("Sweep & more", ENTRIES)
    heads = re.findall(r'<th title="([^"]*)">', page)
    assert heads == [
        "row",
        "train.steps",
        "rates.means",
        "psnr",
        "ssim_xy",
        "fsim_xy",
        "cf_psnr_xy",
        "fsc_z",
        "fsc_z_res_nm_05",
        "fit_s",
        "draw_s",
        "failure",
    ]
    rows = re.findall(r"<tr(?: class=\"failed\")?>\s*(<td.*?)</tr>", page, re.DOTALL)
    assert len(rows) == 4 and all(row.count("<td") == len(heads) for row in rows)
    assert '<a href="a/r.html">a &lt;b&gt;</a>' in rows[1]
    assert 'data-value="9.126"' in rows[1] and 'data-value=""' in rows[2]
    assert "Sweep &amp; more" in page and "src=" not in page


DOM = """
const rows = VALUES.map(v => ({cells: [{dataset: {}, textContent: v}]}));
const body = {rows, append: (...sorted) => { body.rows = sorted; }};
const heading = {dataset: {}};
const document = {querySelectorAll: () => [heading], querySelector: () => body};
SCRIPT
for (let click = 0; click < 2; click++) {
  heading.onclick();
  console.log(body.rows.map(row => row.cells[0].textContent).join("|"));
}
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs node, to run the script of the page")
def test_a_click_sorts_and_another_turns_it_round():
    script = re.search(r"<script>(.*)</script>", to_html("Title", ENTRIES), re.DOTALL)[1]
    code = DOM.replace("SCRIPT", script).replace("VALUES", '["9", "", "(0.1, 1)", "20.5", "-1"]')
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["20.5|9|(0.1, 1)|-1|", "-1|(0.1, 1)|9|20.5|"]
