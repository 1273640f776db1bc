"""Compiled loops over voxels; README.md in this folder says how they are compiled, stored and called."""
