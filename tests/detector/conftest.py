"""No test depends on how fast the machine is."""

from hypothesis import settings

settings.register_profile("anomalyd", deadline=None)
settings.load_profile("anomalyd")
