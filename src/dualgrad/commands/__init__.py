"""The verbs of the command line, one module each: ``run`` under ``@verb``; their docstrings are the help."""
