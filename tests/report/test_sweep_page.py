"""The page as a file."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from actprof.errors import StoreError
from actprof.report.page import embed_json, write_page
from actprof.report.sweep_page import Report, render_report
from actprof.results import ComponentSize

EVIL = "<script>alert(1)</script></title><img src=x onerror=alert(2)>"


class Elements(HTMLParser):
    """Collects the start tags of a page, the text of its scripts left out."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def without_plotly(page):
    """Return the page without plotly's own script, which is not ours to judge."""
    return re.sub(r"<script>\s*/\*\*\s*\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)


def test_nothing_is_loaded_from_elsewhere(grid):
    """No source, no stylesheet, and a policy that forbids the network."""
    tags = Elements(render_report(Report(name="grid", results=grid))).tags
    assert [] == [(tag, a) for tag, a in tags if "src" in a or tag in ("link", "iframe", "object")]
    policies = [a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0].startswith("default-src 'none'")


def test_what_a_reader_looks_for_is_on_the_page(grid, grounding):
    """The question, the answer, the CPU runs marked as such, the command, the versions."""
    report = Report(
        name="3090", question="Which fit?", results=grid, groundings=(grounding,),
        command="actprof sweep x.yaml", created="2025-11-22T17:20:00+00:00", versions={"actprof": "0.1.0"},
    )  # fmt: skip
    page = render_report(report)
    for text in (
        "Which fit?", "runs fit the RTX 3090", "<strong>CPU</strong>", "actprof sweep x.yaml",
        "actprof 0.1.0", "torch 2.11.0", "one process on one GPU", "predicted, without a GPU",
    ):  # fmt: skip
        assert text in page


def test_every_control_has_a_name_and_every_id_is_unique(grid, make_result):
    """Labels point at their controls; buttons have text or a label."""
    tags = Elements(render_report(Report(name="x", results=(*grid, make_result(gpu="T4"))))).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    labelled = {a["for"] for tag, a in tags if tag == "label"}
    assert len(ids) == len(set(ids))
    assert {a["id"] for tag, a in tags if tag in ("select", "input")} == labelled


def test_the_contents_are_the_sections(grid, make_result):
    """Each once, in their order, whichever the page has."""
    for results in ((), grid, (make_result(verdict="unknown"),)):
        tags = Elements(render_report(Report(name="x", results=results))).tags
        linked = [a["href"] for tag, a in tags if tag == "a" and a.get("class") != "skip"]
        assert linked == [f"#{a['id']}" for tag, a in tags if tag == "section"]


def test_names_cannot_break_out_of_the_page(make_result, grounding):
    """Wherever a user's text stands: headings, tables, figures, timelines, CPU runs."""
    evil = make_result(
        verdict="unknown", reason=EVIL, policy=EVIL, gpu=EVIL, overrides={EVIL: EVIL}, alloc_conf=EVIL,
        versions={EVIL: EVIL}, assumptions=(EVIL,), source=EVIL,
    )  # fmt: skip
    grounding.policy = EVIL
    results = (evil, replace(make_result(verdict="oom"), breakdown=None), make_result(batch_size=1))
    report = Report(
        name=EVIL, question=EVIL, results=results, groundings=(grounding,), command=EVIL, created=EVIL,
        versions={EVIL: EVIL},
    )  # fmt: skip
    page = without_plotly(render_report(report))
    assert EVIL not in page
    assert "<script>alert" not in page
    assert "<img" not in page


def test_several_policies_have_one_page(make_result):
    """Each has its parameters, tokens if it reads any, and only its own parts in a key."""
    sizes = {
        "act": ("encoder", 1000, 0), "diffusion": ("U-Net", 2000, 0), "smolvla": ("language model", 0, 4000),
    }  # fmt: skip
    results = [
        make_result(
            policy=policy, overrides={}, batch_size=batch, tokens=602 * (policy != "diffusion"),
            parameters=trained + frozen,
            components=(
                ComponentSize(
                    component=name, trainable=trained, trainable_bytes=4 * trained, frozen=frozen,
                    frozen_bytes=2 * frozen,
                ),
            ),
        )
        for policy, (name, trained, frozen) in sizes.items()
        for batch in (8, 16)
    ]  # fmt: skip
    page = without_plotly(render_report(Report(name="three", results=tuple(results))))

    for text in (
        "2,000</b> parameters in Diffusion Policy",
        "4,000</b> parameters in SmolVLA",
        "Prefix tokens by",
    ):
        assert 1 == page.count(text)
    assert 1 == page.count("Encoder tokens by")
    for title in ("ACT", "Diffusion Policy", "SmolVLA"):
        assert f">{title}</option>" in page


def test_json_in_a_script_survives_any_text(packed):
    """It reads back as it was, and closes no element."""
    value = {"a": "</script><!--\u2028&"}
    assert value == packed(f'<script id="figure-data">{embed_json(value)}</script>')
    assert "<" not in embed_json(value)


@pytest.mark.parametrize(
    "verdicts", [[], ["fits"], ["unknown"], ["oom"], ["unknown", "error", "oom", "tight", "fits"]]
)
def test_every_mixture_of_verdicts_has_a_page(make_result, verdicts):
    """Also none, also one, also nothing that is known."""
    results = tuple(make_result(verdict=v, batch_size=i + 1) for i, v in enumerate(verdicts))
    page = render_report(Report(name="mixture", results=results))
    assert len(results) == page.count("<tbody data-verdict=")


def test_results_from_a_file_render_like_those_from_memory(grid):
    """JSON turns tuples into lists; the page does not mind."""
    from actprof.results import Result

    stored = tuple(Result.from_json(json.loads(json.dumps(r.to_json()))) for r in grid)
    assert render_report(Report(name="x", results=grid)) == render_report(Report(name="x", results=stored))


def test_writing_replaces_the_whole_file(tmp_path):
    """Folders are made; nothing is left beside the report."""
    path = tmp_path / "deep" / "report.html"
    write_page(path, render_report(Report(name="first")))
    assert path == write_page(path, render_report(Report(name="second")))
    assert "second" in path.read_text(encoding="utf-8")
    assert [path] == list(path.parent.iterdir())


def test_a_report_that_cannot_be_written_says_where(tmp_path):
    """The path is named, and nothing is left behind."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        write_page(tmp_path / "file" / "report.html", render_report(Report(name="x")))


def test_rendering_needs_neither_torch_nor_lerobot_nor_pydantic():
    """A report can be made again on any machine."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'lerobot', 'pydantic']));"
        "from actprof.report.sweep_page import Report, render_report; render_report(Report(name='x'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("created", "said"),
    [("2026-11-06T15:08:52+00:00", "written 6 November 2026, 15:08 UTC"), ("of old", "written of old")],
)
def test_the_time_is_written_as_people_do(grid, created, said):
    """And left as it is where it is none."""
    assert said in render_report(Report(name="grid", results=grid, created=created))
