"""What a solution must pass before it is handed out."""
