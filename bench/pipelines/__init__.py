"""Whole tasks, as a user asks for them, on every backend and peer."""
