"""What the site of `mkdocs.yml` has beside the pages in this folder, each made from its only source.

README.md is its first page and CONTRIBUTING.md its page for contributors; the glossary comes from
`actprof.glossary`, the options of a run from `actprof.cell`, the public names of Python from `actprof.api`.
Links between Markdown files are written as GitHub follows them; of a link to what is not part of the site its
text is left.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from actprof import api
from actprof.cell import CELL_FIELDS
from actprof.glossary import GLOSSARY

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)\s:#]*)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand at the top of the repository."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Fill in what is generated, and let links lead where the site has their file."""
    folder = ROOT if page.file.src_uri in OUTSIDE.values() else ROOT / "docs"
    for mark, make in GENERATED.items():
        markdown = markdown.replace(f"<!-- {mark} -->", make())

    def follow(link: re.Match[str]) -> str:
        image, text, target, place = link.groups(default="")
        file = (folder / target).resolve() if target else None
        if file is None or not file.is_relative_to(ROOT):
            return link[0]
        name = file.relative_to(ROOT).as_posix()
        there = OUTSIDE.get(name, name.removeprefix("docs/"))
        if files.get_file_from_path(there) is None and file.exists():
            return text
        return f"{image}[{text}]({there}{place})"

    return _LINK.sub(follow, markdown)


def glossary() -> str:
    """Return a heading and a sentence for each term."""
    return "\n\n".join(f"### {term}\n\n{text}" for term, text in GLOSSARY.items())


def options() -> str:
    """Return the table of what describes one run: keyword, option and meaning."""
    rows = (
        f"| `{part.keyword}` | {f'`{part.option}`' if part.option else ''} | {part.about} |"
        for part in CELL_FIELDS
    )
    return "\n".join(["| keyword | option | what it is |", "|---|---|---|", *rows])


def functions() -> str:
    """Return what mkdocstrings replaces by the public functions."""
    return "\n".join(f"::: actprof.api.{name}" for name in api.__all__ if name.islower())


def records() -> str:
    """Return the same for the public classes."""
    names = (name for name in api.__all__ if not name.islower())
    return "\n".join(f"::: actprof.api.{name}\n    options: {{show_signature: false}}" for name in names)


GENERATED = {
    "every term": glossary,
    "every option": options,
    "every function": functions,
    "every record": records,
}
