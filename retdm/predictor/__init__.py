"""A trained model for use: labels, scores and embeddings of images. Needs no Ray."""

from retdm.predictor.loading import load
from retdm.predictor.model import Predictor
from retdm.predictor.pictures import Picture

__all__ = ["Picture", "Predictor", "load"]
