"""Measuring: subjects in processes of their own, interleaved turns, checks before clocks, honest statistics."""
