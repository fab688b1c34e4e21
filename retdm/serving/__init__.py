"""A trained model behind HTTP, without Ray: limits, requests to images, answers, the page."""
