"""Everything a scene can be made of. Orders are fixed: indices are part of the data format."""

from __future__ import annotations

import numpy as np

SIDE = 112  # pixels of a picture
GRID = 4  # cells along a side; an object lies inside one cell
CELL = SIDE // GRID
MOST = 5  # objects in a scene
JITTER = 2.0  # an object's centre is at most this far from its cell's centre, pixels, in both directions
STEP = 0.25  # resolution of the jitter, pixels

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
PLURALS = {name: f"{name}es" if name == "cross" else f"{name}s" for name in SHAPES}
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
BACKGROUNDS = ("white", "gray", "black", "beige", "brown", "navy")
SIZES = ("small", "large")
RADII = np.array([7.5, 11.0])  # pixels, by size

COLOUR_RGB = np.array(
    [[220, 40, 40], [245, 140, 30], [250, 220, 50], [50, 170, 70],
     [40, 200, 215], [45, 90, 220], [140, 60, 190], [245, 120, 180]], np.uint8,
)  # fmt: skip
BACKGROUND_RGB = np.array(
    [[245, 245, 245], [150, 150, 150], [25, 25, 25], [225, 205, 165], [95, 60, 40], [25, 35, 110]], np.uint8
)
# Instance maps: the n-th object in reading order gets the n-th colour, on black.
MAP_RGB = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]], np.uint8)
MAP_BACKGROUND = np.zeros(3, np.uint8)

NUMBERS = ("zero", "one", "two", "three", "four", "five")
QUADRANTS = ("top left", "top right", "bottom left", "bottom right")
RELATIONS = ("left of", "right of", "above", "below")
DIRECTIONS = ("left", "right", "up", "down")
OFFSETS = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])  # (rows, columns) of a direction, and of "A relation B"
