"""One file per thing to look at; each reads what is known, decides with pure functions, writes what differs."""
