"""The same market and the same signals under other limits: what would have happened?"""
