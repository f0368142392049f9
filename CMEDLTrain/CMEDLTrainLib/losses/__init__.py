"""The losses of the paper, one file each; each is a plain function of tensors that cites its equation."""
