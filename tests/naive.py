"""Slow oracles in plain Python, written from the papers' equations."""
