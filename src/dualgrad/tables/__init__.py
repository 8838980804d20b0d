"""Tables of an edition: their columns, how they are built from records, how they are read."""
