"""The method itself: two gradients, each normalised, mixed and given to an optimizer. It needs torch alone."""
