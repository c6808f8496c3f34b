"""One whole desk in one process: the same services as in separate pods, assembled on whatever ports they are given."""
