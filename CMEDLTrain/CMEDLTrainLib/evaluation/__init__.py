"""How good a student is: during training on patches, afterwards on whole volumes."""
