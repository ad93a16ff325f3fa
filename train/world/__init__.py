"""The world spar-nano learns: procedural scenes, their words, edits, questions and maps. Needs numpy only."""
