"""The shell around the detector: MQTT in, one transaction, MQTT out."""
