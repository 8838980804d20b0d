"""Protocol cards: what each experiment of the census trains, in words and numbers (``docs/protocols.md``).

Everything is derived from the resolved runs of the edition ``paper``, so a card says what is executed. Runs of an
experiment that differ in something are told apart by the factors that make the difference.
"""
