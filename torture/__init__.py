"""Long random runs that try to lose data: kills, races, damaged documents and pixels. Run by ``make torture``."""
