"""What is measured, all of it from one table a picture: how many pixels of each segment lie on each class."""
