"""Which topics commands come in on, whom they are about, and where they are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.topics import MACHINE
from daemon.decoding import SELF_TEST, good_name

if TYPE_CHECKING:
    from config import Settings
    from daemon.intake import Reply


class Addressing:
    """The topics of a configuration."""

    def __init__(self, settings: Settings) -> None:
        commands, readings = settings.commands, settings.readings
        self._topic, self._shared = commands.topic, commands.shared_topic
        self._answer, self._shared_answer = commands.answer_topic, commands.shared_answer_topic
        self._readings = readings.topic
        self._before = commands.topic.partition(MACHINE)[0]
        wanted = (commands.topic.replace(MACHINE, "+"), commands.shared_topic)
        self.filters: tuple[str, ...] = wanted if commands.enabled else ()  # to subscribe to

    def __contains__(self, topic: str) -> bool:
        """Whether what comes on a topic is a command; asked of every reading's."""
        if topic.startswith(self._before) and _between(topic, self._topic) is not None:
            return bool(self.filters)
        return topic == self._shared and bool(self.filters)

    def machine_of(self, topic: str) -> str | None:
        """The machine that a command is about; None: none in particular.

        Raises:
            ValueError: No machine may have that name.
        """
        if topic == self._shared:
            return None
        name = _between(topic, self._topic)
        if name is None or not good_name(name) or name == SELF_TEST:
            raise ValueError(f"no machine may have the name in {topic[:100]!r}")
        return name

    def answer_topic(self, machine: str | None, reply: Reply | None) -> str:
        """Where an answer goes: to the topic that was asked for, unless the daemon itself listens there."""
        if reply is not None and self._harmless(reply.topic):
            return reply.topic
        return self._shared_answer if machine is None else self._answer.replace(MACHINE, machine)

    def _harmless(self, topic: str) -> bool:
        wild = not topic or topic[0] == "$" or "+" in topic or "#" in topic
        return not wild and topic not in self and _between(topic, self._readings) is None


def _between(topic: str, template: str) -> str | None:
    """What stands in the place of the machine; None: the topic is none of the template."""
    before, _, after = template.partition(MACHINE)
    name = topic[len(before) : len(topic) - len(after)]
    return name if "/" not in name and topic == f"{before}{name}{after}" else None
