"""Reasoning chains: styles, the checker, the reasoning set D_R, demonstrations."""
