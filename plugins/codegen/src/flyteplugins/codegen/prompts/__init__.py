"""One Markdown template a step."""
