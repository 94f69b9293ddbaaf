# SPDX-License-Identifier: Apache-2.0
"""The ComfyUI node pack, loaded and run the way ComfyUI does it, without ComfyUI."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import facex
from facex.api import EditOptions

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "comfyui"
OWN_TYPES = {"FACEX_MODEL", "FACEX_FACE", "FACEX_RECIPE"}
TYPES = {"IMAGE", "MASK", "STRING", "INT", "FLOAT", "BOOLEAN", *OWN_TYPES}


def load_pack() -> ModuleType:
    """As ComfyUI loads a folder of ``custom_nodes``: by path, under a name of its own."""
    name = "custom_nodes_facex"
    spec = importlib.util.spec_from_file_location(
        name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


PACK = load_pack()
NODES: dict[str, Any] = PACK.NODE_CLASS_MAPPINGS


def tensor(*images: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(i, np.float32) / 255 for i in images]))


def defaults(node: Any) -> dict[str, Any]:
    """What ComfyUI fills into the widgets of a new node."""
    found = {}
    for name, declared in node.INPUT_TYPES()["required"].items():
        if isinstance(declared[0], list):
            found[name] = declared[0][0]
        elif len(declared) > 1 and "default" in declared[1]:
            found[name] = declared[1]["default"]
    return found


def call(name: str, **inputs: Any) -> tuple[Any, ...]:
    node = NODES[name]
    done = getattr(node(), node.FUNCTION)(**{**defaults(node), **inputs})
    assert isinstance(done, tuple)
    assert len(done) == len(node.RETURN_TYPES)
    return done


def test_every_node_has_a_name() -> None:
    assert PACK.NODE_DISPLAY_NAME_MAPPINGS.keys() == NODES.keys()
    assert len(set(PACK.NODE_DISPLAY_NAME_MAPPINGS.values())) == len(NODES)


@pytest.mark.parametrize("name", NODES)
def test_a_node_keeps_the_interface(name: str) -> None:
    node = NODES[name]
    assert node.CATEGORY
    inputs = node.INPUT_TYPES()
    assert inputs.keys() <= {"required", "optional", "hidden"}
    required, optional = inputs["required"], inputs.get("optional", {})
    assert not required.keys() & optional.keys()
    for key, declared in {**required, **optional}.items():
        assert isinstance(declared, tuple), key
        if not isinstance(declared[0], list):
            assert set(declared[0].split(",")) <= TYPES, key
    function = getattr(node, node.FUNCTION)
    parameters = dict(inspect.signature(function).parameters)
    del parameters["self"]
    assert parameters.keys() == required.keys() | optional.keys()
    for key, parameter in parameters.items():
        assert (parameter.default is parameter.empty) == (key in required), key
    assert set(node.RETURN_TYPES) <= TYPES
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)


def test_the_example_workflow_fits_and_runs(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    """Every link of the file is checked and followed; the nodes of ComfyUI itself are stood in."""
    workflow = json.loads((FOLDER / "example_workflow.json").read_text(encoding="utf-8"))
    photos = {"target.png": tensor(astronaut), "source.png": tensor(hopper)}
    outputs: dict[str, tuple[Any, ...]] = {}
    saved = None
    for number, step in workflow.items():
        values = {
            key: outputs[value[0]][value[1]] if isinstance(value, list) else value
            for key, value in step["inputs"].items()
        }
        kind = step["class_type"]
        if kind == "LoadImage":
            outputs[number] = (photos[values["image"]], torch.zeros(1, 64, 64))
        elif kind == "SaveImage":
            saved = values["images"]
        elif kind == "FaceXLoadModel":
            assert values.keys() == NODES[kind].INPUT_TYPES()["required"].keys()
            outputs[number] = (mini,)
        else:
            assert values.keys() >= NODES[kind].INPUT_TYPES()["required"].keys()
            quick = {"steps": 1} if kind == "FaceXEditFaces" else {}
            outputs[number] = call(kind, **{**values, **quick})
    before = photos["target.png"]
    assert saved is not None
    assert saved.shape == before.shape
    assert saved.dtype == torch.float32
    assert 0 <= saved.min() <= saved.max() <= 1
    image, changed, report = outputs["6"]
    assert changed.shape == before.shape[:3]
    assert torch.equal(image[changed == 0], before[changed == 0])
    assert (image - before).abs()[changed > 0.9].mean() > 0.01
    assert report.startswith("edit ")
    assert outputs["4"][1].shape == (1, 256, 256, 3)


def test_a_chosen_face_is_the_one_that_is_taken(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    both = Image.new("RGB", (1024, 600))
    both.paste(astronaut, (0, 0))
    both.paste(hopper, (512, 0))
    wanted = mini.decompose(hopper)[0].identity
    alike = [float((f.identity * wanted).sum()) for f in mini.decompose(both, face="all")]
    number = str(1 + int(np.argmax(alike)))
    face, _ = call("FaceXDecomposeFace", model=mini, image=tensor(both), face=number)
    assert float((face.representation.identity * wanted).sum()) > 0.8
    again = mini.decompose(face.picture)[0].identity
    assert float((again * wanted).sum()) > 0.8
    with pytest.raises(facex.FaceXError, match="one face"):
        call("FaceXDecomposeFace", model=mini, image=tensor(both), face="all")


def test_a_task_and_a_mask(mini: facex.FaceX, astronaut: Image.Image) -> None:
    mask = torch.zeros(512, 512)
    mask[140:170, 200:250] = 1
    (order,) = call("FaceXTaskRecipe", task="inpaint")
    before = tensor(astronaut)
    image, changed, _ = call(
        "FaceXEditFaces", model=mini, image=before, recipe=order, mask=mask, steps=1
    )
    assert not torch.equal(image[:, mask > 0], before[:, mask > 0])
    assert torch.equal(image[:, mask == 0], before[:, mask == 0])
    assert changed[0][mask == 0].max() == 0


def test_a_new_node_edits_as_the_library_does(
    mini: facex.FaceX, astronaut: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a model has a strength of its own."""
    monkeypatch.setattr(mini.pipeline, "strength", 0.5)
    (order,) = call("FaceXTaskRecipe", task="gaze", gaze_yaw=15.0)
    node = {"model": mini, "image": tensor(astronaut), "recipe": order, "steps": 2}
    image, _, _ = call("FaceXEditFaces", **node)
    own = mini.edit(astronaut, order.recipe, options=EditOptions(steps=2))
    assert torch.equal(image, tensor(own.image))
    other, _, _ = call("FaceXEditFaces", **node, strength=1.0)
    assert not torch.equal(other, image)


@pytest.mark.parametrize("count", [2, 4])
def test_a_wrong_number_of_masks_is_one_sentence(hopper: Image.Image, count: int) -> None:
    batch, masks = tensor(hopper, hopper, hopper), torch.ones(count, 8, 8)
    with pytest.raises(facex.FaceXError, match=f"{count} masks for 3 pictures do not fit"):
        call("FaceXEditFaces", model=None, image=batch, recipe=None, mask=masks)


def test_numbers_and_regions_reach_the_recipe(hopper: Image.Image) -> None:
    (order,) = call(
        "FaceXTaskRecipe", task="expression", expression="jawOpen = 0.4, browInnerUp=0.2"
    )
    assert order.recipe.steps[0].sliders.blendshapes == {"jawOpen": 0.4, "browInnerUp": 0.2}
    (order,) = call(
        "FaceXTaskRecipe", task="attribute", regions="lips, brows", source=tensor(hopper)
    )
    assert order.recipe.steps[0].regions == {"lips": "source", "brows": "source"}
    assert order.photos["source"].size == hopper.size


def test_pictures_of_a_recipe_are_sockets_and_never_files(hopper: Image.Image) -> None:
    text = "format_version: 1\nphotos: {anna: NAME}\nsteps:\n  - hair: anna\n"
    (order,) = call("FaceXYamlRecipe", text=text.replace("NAME", "image_2"), image_2=tensor(hopper))
    assert order.photos.keys() == {"anna"}
    for name in ("image_1", "/etc/passwd"):
        with pytest.raises(facex.FaceXError, match=r"photos\.anna"):
            call("FaceXYamlRecipe", text=text.replace("NAME", name), image_2=tensor(hopper))


@pytest.mark.parametrize(
    ("node", "inputs", "says"),
    [
        ("FaceXTaskRecipe", {"task": "pose", "expression": "jawOpen"}, "NAME=NUMBER"),
        ("FaceXTaskRecipe", {"task": "attribute"}, "needs"),
        ("FaceXYamlRecipe", {"text": "steps: 3"}, "format_version"),
    ],
)
def test_what_is_wrong_is_said_in_words(node: str, inputs: dict[str, Any], says: str) -> None:
    with pytest.raises(facex.FaceXError, match=says):
        call(node, **inputs)
