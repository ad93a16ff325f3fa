"""Is B slower than A? Answered with a significance test, not with two medians."""
