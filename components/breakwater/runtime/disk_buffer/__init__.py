"""Events that wait on a producer's own disk until Redis has them for good (PATCH #1): segments of readable, checksummed lines."""
