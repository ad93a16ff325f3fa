"""Run SPAR-family unified multimodal models: text to image, edit, understand, reconstruct, segment."""
