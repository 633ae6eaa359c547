"""Files of poses and skeletons: each format is known in one module."""
