"""What is done with a result: run, make a task of it, save, load, tell."""
