"""Writing a trained model for use elsewhere: a bundle, or ONNX."""
