"""Rendered scenes with correlated labels: photos-like JPEGs and COCO annotations for them."""
