"""Pixels of arrays: chunks and shards, decoded and encoded."""
