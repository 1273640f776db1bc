"""The files of the viewer's page, and its modules joined to one, which a notebook and a browser load in one request.

Each module becomes a function that returns what the module exports.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|class|const) (\w+|\[[\w, ]+\])", re.MULTILINE)


@lru_cache(maxsize=1)
def page_files() -> dict[str, bytes]:
    """Return the files as they are edited by their names, and ``page.js``: `main.js` with all that it imports."""
    folder = resources.files("lamella.adapters.viewer") / "page"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return {**files, "page.js": joined_modules(files, "main").encode()}


def joined_modules(files: dict[str, bytes], last: str) -> str:
    """Return a module and those that it imports as one, without imports and exports; ``$NAME`` are its exports."""
    parts: dict[str, str] = {}
    _join(last, files, parts)
    return "".join(parts.values())


def _join(name: str, files: dict[str, bytes], parts: dict[str, str]) -> None:
    """Add a module to ``parts``, after those that it imports."""
    text = files[f"{name}.js"].decode()
    for names, imported in _IMPORT.findall(text):
        assert names.strip()
        if imported not in parts:
            _join(imported, files, parts)
    exported = [entry for _, names in _EXPORT.findall(text) for entry in re.findall(r"\w+", names)]
    text = _IMPORT.sub(lambda match: f"const {{{match[1]}}} = ${match[2]};", text)
    text = _EXPORT.sub(lambda match: f"{match[1]} {match[2]}", text)
    parts[name] = f"const ${name} = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();\n"
