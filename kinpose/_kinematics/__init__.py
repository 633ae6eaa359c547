"""The two ways to go through a tree: written out (`walk`), or as a loop (`loop`)."""
