"""The table of formats in the documentation, from what the readers say of their samples."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.formats.samples import samples

from lamella.ops.conversion.facts import summarize
from lamella.readers import list_formats

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
BEGIN, END = "<!-- formats -->\n", "<!-- end -->"


def table() -> str:
    """Return the table in Markdown; every library must be installed."""
    lines = ["| format | name | extra | endings | read of its samples |", "|---|---|---|---|---|"]
    for form in list_formats():
        kept: dict[str, None] = {}
        for sample in samples():
            if sample.reader == form.name:
                with closing(sample.the_reader.open(str(sample.file))) as container:
                    facts, _, _ = summarize(
                        [source.description for source in container], container.original, 0
                    )
                    kept.update(("original metadata" if "OME/" in fact else fact, None) for fact in facts)
                    if all(source.description.well for source in container):
                        kept["wells"] = None
        endings = ", ".join(f"`{ending}`" for ending in form.endings) or (
            "those of the plugins" if form.name == "bioio" else "folders"
        )
        extra = f"`{form.extra}`" if form.extra else ""
        lines.append(f"| {form.title} | `{form.name}` | {extra} | {endings} | {', '.join(sorted(kept))} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Return the text of the page with the table of now."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]
