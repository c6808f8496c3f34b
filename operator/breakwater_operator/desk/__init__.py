"""How the operator reaches a running desk: its policy in the store, its components over HTTP, a look at each every second."""
