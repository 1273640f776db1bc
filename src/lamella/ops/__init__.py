"""Operations on nodes: functions that import nodes, store and spec, never adapters or the command line at module level.

Methods of the API call them in one line. Nothing is imported here: an operation loads with its own module.
"""
