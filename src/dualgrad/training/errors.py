"""The one error that training raises for what a run asks for."""


class TrainingError(RuntimeError):
    """A run cannot be trained: something that it needs is not as it should be."""
