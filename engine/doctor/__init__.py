"""Proof that a backend computes the model: against golden vectors, or against the torch oracle."""
