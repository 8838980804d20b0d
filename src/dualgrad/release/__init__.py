"""The published archive as files: its manifest, where it comes from, what it holds."""
