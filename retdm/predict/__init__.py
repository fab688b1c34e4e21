"""Predicting labels of images: `python -m retdm.predict`."""
