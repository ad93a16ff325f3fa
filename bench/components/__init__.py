"""Components of a model, as the pipelines call them, on every backend and peer."""
