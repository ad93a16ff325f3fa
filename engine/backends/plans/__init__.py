"""Plans of TensorRT and TensorRT-RTX: what is kept of them on the disk, and how they get their weights."""
