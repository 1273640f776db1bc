"""The files of the viewer's page, and its JavaScript modules joined to one, which is loaded in one request.

Each module becomes a function that returns the exports of the module: ``const $soft = (() => {...})();``, and
``import { SIDE } from "./soft.js";`` becomes ``const { SIDE } = $soft;``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|class|const) (\w+|\[[\w, ]+\])", re.MULTILINE)


@lru_cache(maxsize=1)
def page_files() -> dict[str, bytes]:
    """Return the files of the page by name, and ``page.js``: `main.js` joined with the modules that it imports."""
    folder = resources.files("lamella.adapters.viewer") / "page"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return {**files, "page.js": joined_modules(files, "main").encode()}


def joined_modules(files: dict[str, bytes], last: str) -> str:
    """Return the module ``last`` and those that it imports as one text."""
    functions: dict[str, str] = {}
    _join(last, files, functions)
    return "".join(functions.values())


def _join(name: str, files: dict[str, bytes], functions: dict[str, str]) -> None:
    """Add a module as a function, after those that it imports."""
    script = files[f"{name}.js"].decode()
    for names, imported in _IMPORT.findall(script):
        assert names.strip()
        if imported not in functions:
            _join(imported, files, functions)
    exported = [
        exported_name for _, names in _EXPORT.findall(script) for exported_name in re.findall(r"\w+", names)
    ]
    script = _IMPORT.sub(lambda match: f"const {{{match[1]}}} = ${match[2]};", script)
    script = _EXPORT.sub(lambda match: f"{match[1]} {match[2]}", script)
    functions[name] = f"const ${name} = (() => {{\n{script}\nreturn {{ {', '.join(exported)} }};\n}})();\n"
