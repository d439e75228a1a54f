"""Other ways to score readings as they come, each in a process and an environment of its own."""
