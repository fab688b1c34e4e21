"""The networks: image net, label net and the two heads."""

from retdm.models.backbone import Backbone, build_backbone
from retdm.models.feature_net import FeatureNet, build_feature_net
from retdm.models.image_net import ImageEmbeddingNet, build_image_net
from retdm.models.label_net import LabelEmbeddingNet, classifier_head, reconstruction_head

__all__ = [
    "Backbone",
    "FeatureNet",
    "ImageEmbeddingNet",
    "LabelEmbeddingNet",
    "build_backbone",
    "build_feature_net",
    "build_image_net",
    "classifier_head",
    "reconstruction_head",
]
