"""Anthropic's messages API. Its "model" is a deployment."""
