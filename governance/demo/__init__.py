"""The embedded data set and dual encoder: a governed case can be tried with no download.

Images are rendered on the fly (`scenes`); the encoder was trained by `train` and its weights are
package data. Nothing heavy is imported here: the command line reads these two paths on start-up.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
"""open_clip directory: `open_clip_config.json` and `open_clip_model.safetensors`."""

LABELS_FILE = Path(__file__).parent / "labels.toml"
"""The label space: classes, domains, prompt templates and held-back synonyms."""
