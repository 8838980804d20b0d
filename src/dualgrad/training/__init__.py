"""The trainer: one loop that executes the stages and segments of a resolved run."""
