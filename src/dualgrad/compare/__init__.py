"""Two editions side by side: condition by condition, phenomenon by phenomenon, a picture and a page.

Seeds of two editions are not comparable one by one (the same seed draws other weights, labels and batches), so
distributions are compared, never pairs of runs. ``conditions`` and ``phenomena`` hold the numbers, ``picture`` and
``page`` show them.
"""
