"""Breakwater's data plane: the components of a trading desk and the rules they keep."""
