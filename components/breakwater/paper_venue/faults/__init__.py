"""Faults on purpose: a seeded plan of what goes wrong, the pure decision, and how HTTP and memory carry it out."""
