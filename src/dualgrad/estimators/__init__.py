"""Estimators over plain arrays: resampling and interactions, shared by statistics, claims and figures."""
