"""Fast forms of potentials: loops in C on a CPU, recorded graphs on a GPU; PyTorch stays the definition."""
