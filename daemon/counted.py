"""What is counted besides readings and alerts: every event and its reasons are known before they happen."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from daemon import reasons
from daemon.commands.command import COMMANDS
from daemon.commands.reading import Reason
from daemon.decoding import RefusalReason
from daemon.losses import LOSSES, REFUSALS
from daemon.reasons import OTHER
from detector.clock import ClockFault
from detector.health import Health
from detector.reading import Dropped, Ignored
from registry.drifts import Kind
from registry.requests import By


class Counted(msgspec.Struct, frozen=True):
    """A kind of event.

    Attributes:
        metric: Its metric, less `anomalyd_` and `_total`.
        says: What one of them is.
        reasons: All that can be given; () for an event that needs none.
    """

    metric: str
    says: str
    reasons: tuple[str, ...] = ()


COUNTED: Mapping[str, Counted] = {
    "message_refused": Counted(
        "messages_refused",
        "Messages that are no readings; they are kept as dead letters.",
        tuple(RefusalReason),
    ),
    "dead_letter_replayed": Counted(
        "dead_letters_replayed",
        "Dead letters that were read once more, by what they are now.",
        ("scored", "stored", "duplicate", "refused"),
    ),
    "command_executed": Counted("commands_executed", "Commands that were obeyed.", tuple(COMMANDS)),
    "command_refused": Counted("commands_refused", "Commands that were not obeyed.", tuple(Reason)),
    "answer_dropped": Counted(
        "answers_dropped",
        "Answers to commands that could not be published; who asked may ask again.",
        ("too_many", "stopped", "too_large", *reasons.TURNED_DOWN, OTHER),
    ),
    "message_dropped": Counted(
        "messages_dropped",
        "Messages at QoS 0 that found the daemon too busy.",
        ("intake_full",),
    ),
    "reading_dropped": Counted("readings_dropped", "Readings that were left out.", tuple(Dropped)),
    "clock_stepped": Counted(
        "clock_steps", "Times that this host's own clock was set, by NTP or by hand.", ("forward", "back")
    ),
    "clock_failed": Counted(
        "clocks_failed",
        "Clocks of machines that were set back, or stand still so that all readings look like one.",
        tuple(ClockFault),
    ),
    "value_ignored": Counted("values_ignored", "Single values that count as missing.", tuple(Ignored)),
    "sensor_unhealthy": Counted(
        "sensors_unhealthy",
        "Times that a sensor ceased to be healthy, or changed in what ails it.",
        tuple(health for health in Health if health is not Health.OK),
    ),
    "broker_lost": Counted(
        "broker_losses",
        "Connections to the broker that ended, or could not be made.",
        LOSSES,
    ),
    "broker_refused": Counted(
        "broker_refusals",
        "Attempts to connect that the broker turned down.",
        REFUSALS,
    ),
    "session_lost": Counted(
        "sessions_lost",
        "Connections for which the broker had forgotten the session: readings may be missing.",
    ),
    "session_shortened": Counted(
        "sessions_shortened",
        "Connections for which the broker keeps the session shorter than was asked.",
    ),
    "readings_missing": Counted(
        "connections_without_reading",
        "Connections over which nothing came for so long that the broker may deny reading.",
    ),
    "subscription_refused": Counted(
        "subscriptions_refused",
        "Subscriptions that the broker turned down.",
        (*reasons.TURNED_DOWN, OTHER),
    ),
    "publication_refused": Counted(
        "publications_refused",
        "First and repeated attempts to publish on a topic that the broker turned down; nothing is lost.",
        (*reasons.TURNED_DOWN, OTHER),
    ),
    "publication_dropped": Counted(
        "publications_dropped",
        "Publications that are not kept and could not be sent.",
        ("too_large",),
    ),
    "publication_too_large": Counted(
        "publications_too_large",
        "Publications larger than the broker takes; alerts among them are kept as dead letters.",
    ),
    "store_failed": Counted(
        "store_failures",
        "Attempts to write the store that the disk or another process prevented.",
        (*reasons.STORE, OTHER),
    ),
    "publication_buried": Counted(
        "publications_buried",
        "Alert events that waited for the broker beyond the bounds; they are kept as dead letters.",
        ("max_outbox",),
    ),
    "dead_letter_dropped": Counted(
        "dead_letters_dropped", "The oldest dead letters beyond the bounds.", ("too_many", "too_large")
    ),
    "text_dropped": Counted(
        "texts_dropped", "Texts of categories beyond the bound; their numbers are stored.", ("too_many",)
    ),
    "reading_pruned": Counted(
        "readings_pruned", "Stored readings that went before store.keep, for store.max_size.", ("max_size",)
    ),
    "machine_forgotten": Counted(
        "machines_forgotten", "Machines that have sent nothing for store.keep, and are no longer followed."
    ),
    "store_damaged": Counted(
        "stores_damaged", "Stores that were damaged, deleted or replaced, and made anew."
    ),
    "snapshot_unreadable": Counted(
        "snapshots_unreadable", "Machines that begin anew, since what was stored of them is damaged."
    ),
    "retraining_started": Counted(
        "retrainings_started", "Retrainings that the daemon started, by who asked.", tuple(By)
    ),
    "retraining_decided": Counted(
        "retrainings_decided",
        "Turns of the daemon's child that ended, a new model in service or not.",
        ("promoted", "not_promoted"),
    ),
    "retraining_failed": Counted(
        "retrainings_failed",
        "Retrainings that ended without having done all that was asked for.",
        ("error", "io", "killed", "max_memory", "max_time"),
    ),
    "retraining_backed_off": Counted(
        "retrainings_backed_off", "Turns that failed or took too long, so that the next one is put off."
    ),
    "retraining_refused": Counted(
        "retrainings_refused", "Requests in the request file that cannot be met.", ("too_many", "unreadable")
    ),
    "drift_changed": Counted("drift_changes", "Machines whose drift has become another.", tuple(Kind)),
    "drift_failed": Counted(
        "drift_failures", "Measurements of drift that ended without an answer.", ("error", "io", "killed")
    ),
    "thread_hung": Counted(
        "thread_hung_seconds",
        "Seconds for which a stuck thread has kept the watchdog unfed.",
        ("network",),
    ),
    "thread_failed": Counted("threads_failed", "Threads that ended with an error, and are started anew."),
}
