"""Signal sources: each one file, each only opinions; the engine gives them identity, provenance and a way out."""
