"""Operations on nodes: downsampling and pyramids, copying, converting, checking.

Each operation is a function beside the nodes; methods of the API call it in one line. Operations import nodes, store
and spec, never adapters or the command line at module level. Nothing is imported here: an operation loads with its own
module.
"""
