"""Figures: drawn from the parts of the tables that they show, in the configured edition."""

FIGURE_FILES = {"main": []}
