"""The verbs of the command line, one module each: ``add_arguments`` and ``run``; their docstrings are the help."""
