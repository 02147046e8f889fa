"""Projects of images, for which readers choose a class."""
