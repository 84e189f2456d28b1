"""Integer networks: calibration images, ranges, and what is made of them."""
