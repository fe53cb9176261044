"""Asking a language model for a typed answer."""
