"""From records to what they say: tables, statistics, claims, comparisons. Knows nothing of training."""
