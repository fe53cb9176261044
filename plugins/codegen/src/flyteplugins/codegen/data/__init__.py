"""From a sample to an exact profile, a Pandera schema and the text of a prompt."""
