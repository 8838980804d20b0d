"""Benchmarks: this project's training and pipeline beside the published loop, in one call on one machine.

Alternatives take turns, so that a busy machine slows all of them alike; what is reported are medians, quartiles and
ratios within a round. ``baseline`` holds the published loop.
"""
