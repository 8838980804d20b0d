"""The one error that training raises for what a run asks for, and those that are the machine's."""

import torch

# What cuDNN says through torch where no algorithm of a convolution finds room, or none fits this GPU.
NO_ENGINE = "find an engine to execute this computation"


class TrainingError(RuntimeError):
    """A run cannot be trained: something that it needs is not as it should be."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory; torch has no type of its own for the host's."""
    words = ("out of memory", "not enough memory", "can't allocate memory", "_ALLOC_FAILED", NO_ENGINE)
    return isinstance(error, MemoryError) or any(one in str(error) for one in words)


def lacks_gpu_memory(error: BaseException) -> bool:
    """Whether it is a GPU's memory that there is too little of."""
    words = ("CUDA", "CUBLAS_", "CUDNN_", NO_ENGINE)
    return lacks_memory(error) and any(one in str(error) for one in words)


def of_the_machine(error: BaseException) -> bool:
    """Whether an error says nothing of what was read or computed: too little memory, or a GPU that gave up."""
    return lacks_memory(error) or isinstance(error, torch.AcceleratorError)
