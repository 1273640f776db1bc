"""Long jobs: units of work, the journal of those that are finished, and the test of whether one is done.

Layer: ops.
"""
