"""What every component stands on: clocks, bus, disk, settings, metrics, probes, lifecycle."""
