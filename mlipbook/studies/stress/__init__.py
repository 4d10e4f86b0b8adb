"""What training on stress buys (chapters 4 and 5)."""
