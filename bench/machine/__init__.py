"""What this machine can do at most: measured once, cached with its fingerprint, quoted by every other table."""
