"""Pages of the site that are not in docs/: the README as its front page, CONTRIBUTING.md and CHANGELOG.md.

MkDocs calls the functions here (`hooks` in mkdocs.yml). A link out of docs/ leads to such a page, or, if it leads to a
file of the repository (a test, a module, a licence), becomes the name of that file, since the site has no such file.
A page that would load something from another server stops the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""File of the repository: page of the site."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```(\w+) [\w-]+$", re.MULTILINE)
"""A block that tests/test_docs.py does not run by itself: the word after the language says what it needs."""

LIBRARY = re.compile(r"^```python (lamella|iohub|ngff-zarr|ngio|ome-zarr)$", re.MULTILINE)
"""A script beside those of other libraries: its title says which library it uses."""

OUTSIDE = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*stylesheet[^>]*//[^>]*>|@import"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links at the pages of the site."""
    sources = {target: source for source, target in PAGES.items()}
    uri = page.file.src_uri
    here = posixpath.dirname(sources.get(uri, f"docs/{uri}"))

    def moved(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(here, target))
        if path in PAGES:
            target = posixpath.relpath(PAGES[path], posixpath.dirname(uri) or ".")
        elif path.startswith("docs/"):
            target = posixpath.relpath(path.removeprefix("docs/"), posixpath.dirname(uri) or ".")
        else:
            return text if text.startswith("`") else f"{text} (`{path}`)"
        return f"{picture}[{text}]({target}{anchor or ''})"

    return LINK.sub(moved, FENCE.sub(r"```\1", LIBRARY.sub(r'```python title="\1"', markdown)))


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Refuse a page that loads a script, a style or a picture from another server."""
    if match := OUTSIDE.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another server: {match[0]}")
    return output
