"""Large images in tiles: any detector sees an image piece by piece, and the pieces' detections become the image's."""
