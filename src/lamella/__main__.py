"""``python -m lamella``: the command line.

Layer: above all others.
"""

from __future__ import annotations

from lamella.cli import main

if __name__ == "__main__":
    main(prog_name="lamella")
