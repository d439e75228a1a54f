"""The configuration: one YAML file, the environment over it, checked and frozen.

`load(find(option, os.environ), os.environ)` gives `Settings`, or a `ConfigError` with every problem at once.
"""

from __future__ import annotations

from config.connection import Mqtt, Tls
from config.loading import DEFAULT_FILE, find, load
from config.problems import ConfigError, Problem
from config.quantities import format_duration, parse_duration
from config.schema import json_schema, reference
from config.secrets import read_password
from config.settings import Settings
from config.streams import Alerts, Log, Readings, Scores, State, Status, Store
from config.training import Gate, History, Model, Retrain, Threshold, Trainer

__all__ = [
    "DEFAULT_FILE",
    "Alerts",
    "ConfigError",
    "Gate",
    "History",
    "Log",
    "Model",
    "Mqtt",
    "Problem",
    "Readings",
    "Retrain",
    "Scores",
    "Settings",
    "State",
    "Status",
    "Store",
    "Threshold",
    "Tls",
    "Trainer",
    "find",
    "format_duration",
    "json_schema",
    "load",
    "parse_duration",
    "read_password",
    "reference",
]
