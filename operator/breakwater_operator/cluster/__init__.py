"""Everything that talks to the API server, and the comparison that decides what it has to say."""
