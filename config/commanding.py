"""Where operators' commands come in, and where they are answered."""

from __future__ import annotations

from config.section import Section
from config.topics import MachineTopic, PlainTopic


class Commands(Section, frozen=True):
    """What operators tell the daemon over MQTT."""

    enabled: bool = True
    topic: MachineTopic = "anomalyd/{machine}/command"
    shared_topic: PlainTopic = "anomalyd/command"
    answer_topic: MachineTopic = "anomalyd/{machine}/answer"
    shared_answer_topic: PlainTopic = "anomalyd/answer"

    @property
    def topics(self) -> dict[str, str]:
        """All of them by their option's name."""
        names = ("topic", "shared_topic", "answer_topic", "shared_answer_topic")
        return {name: getattr(self, name) for name in names}
