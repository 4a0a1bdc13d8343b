"""Image sets: collections of images with a class each, read into one array of pixels. Needs Pillow, which the extra ``torch`` brings."""
