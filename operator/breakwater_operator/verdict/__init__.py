"""What the observed facts mean: pure, facts in, conditions, status and Events out. No cluster, no clock."""
