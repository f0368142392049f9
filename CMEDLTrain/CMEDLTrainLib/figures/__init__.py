"""The pictures of an evaluation, as the paper has them."""
