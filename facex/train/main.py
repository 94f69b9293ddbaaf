# SPDX-License-Identifier: Apache-2.0
"""``facex train CONFIG``: read a config, apply ``--set key=value``, run the trainer it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from facex.errors import MissingExtra, OptionError


def read_config(path: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a YAML config with ``overrides`` over them.

    Raises:
        OptionError: the file cannot be read or is no mapping.
    """
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"config {path} cannot be read: {error.strerror or error}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0]
        raise OptionError(f"config {path} is no YAML: {line}") from error
    if not isinstance(data, dict):
        raise OptionError(f"config {path} must be a list of 'name: value' lines")
    return {**data, **overrides}


def train_command(config: Path, overrides: Mapping[str, Any]) -> Path:
    """Run the training that a config describes; returns the folder of the result.

    Raises:
        OptionError: the config is wrong; the message names the first wrong value.
        MissingExtra: accelerate is not installed.
    """
    data = read_config(Path(config), overrides)
    try:
        settings, trainer = _kind(data.get("kind", "generator"), config)
    except ImportError as error:
        raise MissingExtra("training", "train") from error
    try:
        values = settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise OptionError(f"{config}: {where}: {first['msg']}") from error
    folder: Path = trainer(values).run()
    return folder


def _kind(kind: object, config: Path) -> tuple[type[BaseModel], Any]:
    """Config and trainer of a kind; of the others nothing is imported."""
    if kind == "generator":
        from facex.train.generator import GeneratorTrainer
        from facex.train.generator_config import GeneratorConfig

        return GeneratorConfig, GeneratorTrainer
    if kind == "harmonizer":
        from facex.train.harmonizer import HarmonizerConfig, HarmonizerTrainer

        return HarmonizerConfig, HarmonizerTrainer
    if kind == "sd15":
        from facex.train.sd15.config import Sd15Config
        from facex.train.sd15.trainer import Sd15Trainer

        return Sd15Config, Sd15Trainer
    if kind == "style":
        from facex.train.style.trainer import StyleConfig, StyleTrainer

        return StyleConfig, StyleTrainer
    raise OptionError(
        f"{config}: kind: {kind!r} is unknown; expected generator (mini), harmonizer, "
        "style (mini) or sd15"
    )
