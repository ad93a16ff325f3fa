"""Pictures in and out: loading, resizing, tiling, normalising, segments, saving. Importing this loads no Pillow."""

from .load import MAX_PIXELS, MAX_SIDE, Source, load_image
from .postprocess import pictures, reconstructed_pictures, reconstruction, unit
from .preprocess import (
    Padding,
    chat_pixels,
    crop,
    edit_pixels,
    normalise,
    reconstruct_pixels,
    reflect_pad,
    squash,
    tile_grid,
    tiles,
)
from .regions import Region, regions
from .resample import bicubic, bilinear, nearest
from .save import check_destination, encode_image, read_settings, save_image

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "Padding",
    "Region",
    "Source",
    "bicubic",
    "bilinear",
    "chat_pixels",
    "check_destination",
    "crop",
    "edit_pixels",
    "encode_image",
    "load_image",
    "nearest",
    "normalise",
    "pictures",
    "read_settings",
    "reconstruct_pixels",
    "reconstructed_pictures",
    "reconstruction",
    "reflect_pad",
    "regions",
    "save_image",
    "squash",
    "tile_grid",
    "tiles",
    "unit",
]
