"""A model of real size with random weights, for what does not depend on their values."""

import logging
from pathlib import Path

import torch
from safetensors.torch import save_file

CONFIGURATION = "ViT-B-32"


def write_weights(path: Path) -> Path:
    """Write a weights file of `CONFIGURATION`, 605 MB."""
    import open_clip

    logging.disable(logging.WARNING)  # open_clip warns of random weights, which are meant
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            state = open_clip.create_model(CONFIGURATION, pretrained=None).state_dict()
    finally:
        logging.disable(logging.NOTSET)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path
