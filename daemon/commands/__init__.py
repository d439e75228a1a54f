"""What operators tell the daemon, over MQTT or on the command line, and what it answers."""
