"""Faults: kills at random moments, damaged files, full disks, wrong clocks; and what the pipeline makes of them.

``python -m tests.faults --kills 200 --seed 0`` kills for as long as one likes; the tests take a sample.
"""
