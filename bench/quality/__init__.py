"""Scores of a model that draws the procedural world of `spar_train.world`: a judge, tasks, a report."""
