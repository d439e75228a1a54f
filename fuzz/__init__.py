"""Atheris looks for messages that make an error escape: `make fuzz`."""
