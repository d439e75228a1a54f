"""The pure core: readings become samples, windows, scores and alerts. No clock, no I/O, nothing global."""
