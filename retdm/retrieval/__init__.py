"""Searching in the space that a model learned: images by images, by labels, and labels by images.

Needs scikit-learn (`pip install 'retdm[search]'`), which searches exactly.
"""
