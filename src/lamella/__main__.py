"""``python -m lamella``: the command line."""

from __future__ import annotations

from lamella.cli import main

if __name__ == "__main__":
    main(prog_name="lamella")
