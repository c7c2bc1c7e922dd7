"""Links lead somewhere, options exist, and the files that strangers look for are in order."""

from __future__ import annotations

import re

import click
import pytest
import yaml
from consoles import PAGES, ROOT

from actprof.cli import cli

PAGES_AND_MORE = [*PAGES, ROOT / "CONTRIBUTING.md"]
_LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?![\w.-])")
# Options of other programs that pages name; lerobot's have dots or underscores, or stand after `--`.
OTHERS = {
    "accelerate": ["--mixed_precision"],
    "containers": ["--cleanenv", "--env", "--env-file", "--gpus", "--mount"],
    "hf jobs": ["--flavor"],
    "mypy": ["--strict"],
    "lerobot": ["--device", "--steps"],
    "ray start": ["--address", "--num-gpus", "--resources"],
    "our benchmarks": ["--main", "--missing", "--uv"],
    "sudo": ["--preserve-env"],
}


def options(command: click.Command) -> set[str]:
    """Return the options of a command."""
    return {name for part in command.params for name in (*part.opts, *part.secondary_opts)} | {"--help"}


def anchors(page) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES_AND_MORE, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    """As GitHub follows them."""
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES_AND_MORE, ids=lambda page: page.name)
def test_options_exist(page):
    """Those in a command are that command's; others are of some command, or of another program."""
    commands = {
        name: cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))
    }
    known = set().union(options(cli), *map(options, commands.values()), *OTHERS.values())
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    code = re.findall(r"`([^`]+)`", text) + re.findall(r"^(?: {4}|\$ ).*$", text, re.MULTILINE)

    assert [] == [option for part in code for option in _OPTION.findall(part) if option not in known]
    for part in code:
        words = part.strip().removeprefix("$ ").partition(" # ")[0].partition(" -- ")[0]
        name = words.split()[1:2] if words.startswith("actprof ") else []
        if name and name[0] in commands:
            assert set(_OPTION.findall(words)) <= options(commands[name[0]]), words


def test_what_is_copied_sets_its_variables():
    """A block of shell in README uses no variable that it does not set before."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n([^`]*)^```", readme, re.MULTILINE)
    for used in re.finditer(r"\$\{?(\w+)", block):
        assert re.search(rf"^{used[1]}=", block[: used.start()], re.MULTILINE), used[0]


def test_a_citation_has_what_it_needs():
    """CITATION.cff, of the version that is here."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert {"cff-version", "message", "title", "authors", "version", "license", "type"} <= set(citation)
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["license"] == "Apache-2.0"


def test_the_licence_is_whole():
    """LICENSE, and its name in the package's metadata."""
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    for text in ("Apache License", "Version 2.0, January 2004", "9. Accepting Warranty", "END OF TERMS"):
        assert text in licence
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_files_of_github_can_be_read():
    """The workflow runs what contributors run; an issue asks for versions and the command."""
    files = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github").rglob("*.yml")}
    steps = files["test.yml"]["jobs"]["test"]["steps"]
    assert "make test" in [step.get("run") for step in steps]
    asked = str(files["wrong_answer.yml"])
    assert all(text in asked for text in ("actprof --version", "command", "--json"))


def test_the_hook_before_commits_is_the_linter():
    """`make lint`, from here and not from elsewhere."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [("local", "make lint")] == [(one["repo"], one["hooks"][0]["entry"]) for one in hooks["repos"]]
