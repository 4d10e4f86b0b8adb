"""Structures that a potential does not know yet, and first-principles dynamics as its judge."""
