"""The site builds without a warning and needs no network; the pictures are what their script draws."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from consoles import ROOT

from actprof.glossary import GLOSSARY

FETCHED = re.compile(r"""(?:src=|<link[^>]+href=|url\(|@import )["'(]?(?:https?:)?//[^"')\s]+""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ("", "", 0) == (built.stdout, built.stderr, built.returncode)
    return folder


def test_every_page_is_in_the_site(site):
    """Those of docs/, and what stands at the top of the repository."""
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} | {"index", "contributing"}
    assert pages <= {page.stem for page in site.glob("*.html")}


def test_nothing_is_fetched_from_elsewhere(site):
    """No font, script or picture."""
    assert [] == [
        (page.name, found)
        for page in (*site.glob("*.html"), *site.rglob("*.css"))
        for found in FETCHED.findall(page.read_text(encoding="utf-8"))
    ]


def test_the_glossary_is_that_of_the_command(site):
    """Every term, with its sentence."""
    page = (site / "glossary.html").read_text(encoding="utf-8")
    assert all(f">{term}<" in page for term in GLOSSARY)


def test_the_functions_and_options_of_python_are_there(site):
    """From docstrings and from the fields of a cell."""
    page = (site / "api.html").read_text(encoding="utf-8")
    for text in ('id="actprof.api.predict"', "<code>batch_size</code>", "Raises", "assert_at_most"):
        assert text in page


def test_the_picture_is_drawn_from_the_ledger(tmp_path):
    """`python benchmarks/accuracy_picture.py` draws it."""
    drawn = tmp_path / "accuracy.svg"
    subprocess.run([sys.executable, "benchmarks/accuracy_picture.py", str(drawn)], cwd=ROOT, check=True)
    assert drawn.read_text(encoding="utf-8") == (ROOT / "docs/accuracy.svg").read_text(encoding="utf-8")
