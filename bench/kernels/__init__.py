"""One file an op: its shapes in the presets, its work, and its plain form for the peers. The runner reads `CASE`."""
