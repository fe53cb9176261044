"""From imports to distributions to a locked environment."""
