"""Drawing of images: entities, backdrops, props, and their arrangement."""

from gmner.data.world.drawing.picture import SIDE, picture

__all__ = ["SIDE", "picture"]
