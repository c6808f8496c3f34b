"""Backup and restore of one desk's state directory: what ``kill -9`` would leave at one instant, in one checked file."""
