"""Rewrite whole stores: in another version, or with other chunks."""
