"""`make bench-detection`: how well machines of public recordings are watched, beside other detectors.

Everything is causal: a row's score uses rows up to it. One configuration serves all files, and what
differs per file is derived from its normal training rows alone. `protocol` says which rows are fitted
on and which are judged, `ours` and `baselines` score them, `judging` counts, `running` does it for
every detector and file on all cores, and `page` writes docs/detection.md. `live` is apart: it compares
alerts of a real daemon with those of replay.
"""
