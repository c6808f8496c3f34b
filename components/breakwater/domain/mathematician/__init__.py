"""The trading mathematician: stop, target and leverage from volatility, size from the edge a source has shown.

Optional, off by default (``spec.mathematician``). It advises before the sizing and can only make a trade smaller: every
limit of the risk manager and of the gate holds on top of it. All of it is pure.
"""
