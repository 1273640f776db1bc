"""Validate a store against the rules of the specification."""
