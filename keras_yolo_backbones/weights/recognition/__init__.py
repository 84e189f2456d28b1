"""Which network a weight file is of. Needs neither Keras nor any family: what it must know is data."""
