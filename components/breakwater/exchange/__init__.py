"""The exchange as we talk to it: unmodified ccxt, pointed where we say, its outcomes judged and its replies parsed exactly."""
