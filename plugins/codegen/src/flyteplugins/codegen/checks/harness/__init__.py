"""The test fixture, as data: these files stand beside the tests, in the sandbox and in a saved generation."""
