"""Write frames from an instrument into the arrays of one or many positions."""
