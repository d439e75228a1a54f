"""The command `anomalyd`: parses, calls, prints; results to stdout, the rest to stderr."""
