"""How a solution comes about."""
