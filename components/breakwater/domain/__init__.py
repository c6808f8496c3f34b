"""Pure trading rules: money, instruments, orders, positions, policy, gate, sizing, emergency stop.

Nothing here does I/O, reads a clock or the environment. Everything else depends on this package; it depends on nothing.
"""
