"""Replication: what has been re-trained, beside the published rows of the same conditions.

``rows`` reads records, or rows that were kept of them; ``compare`` puts them beside the published runs; ``words`` and
``picture`` show it. It serves five runs as well as a whole census, and says what was not trained.
"""
