"""`make bench-drift`: what retraining is worth, on recorded machines and on a simulated pump over months.

A walk streams a machine's time through the pipeline as the daemon would, and takes a turn with the
shipped code whenever one is due, from what was streamed so far. `walking` does that, `courses` and
`pump` say what is walked over, `operator` who answers alerts, `works` which walks there are, `running`
takes those that were not taken yet, and `page` writes docs/retraining.md.
"""
