"""`make gpu-check`: everything that can only be known on a GPU, in one command of a few minutes."""
