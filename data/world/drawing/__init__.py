"""Pictures of the world: every entity's look, backdrops, props, and how they are put together."""

from gmner.data.world.drawing.picture import SIDE, picture

__all__ = ["SIDE", "picture"]
