"""Deterministic simulation: an event loop with virtual time, virtual clocks, and transports, bus and disk in memory.

Product code, not test code: drills and what-if runs use it as much as the tests do.
"""
