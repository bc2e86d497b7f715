"""What metadata.json says of a network's input and output, by the plan that it was trained with."""

from copy import deepcopy
from typing import Any

FORMAT = "_data_format"
LOCATOR = "locator" + FORMAT  # answers with the union of all structures
FORMATS = {"CT": "hounsfield"}  # of other modalities: magnitude


def described_by(plan: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata with the channels, structures, modality and value range of a plan.

    Args:
        plan: of the training; one that is the paper's own leaves everything as it is.
        metadata: of the bundle, ``metadata.json``.
    """
    if not plan.get("reasons"):  # the paper's plan: metadata.json was written for it
        return metadata
    described = deepcopy(metadata)
    names = list(plan["structures"]) if "output_values" in plan else structure_names(plan)
    channels = names if plan["output"] == "sigmoid" else ["background", *names]
    for key in (key for key in described if key.endswith(FORMAT)):
        image, pred = described[key]["inputs"]["image"], described[key]["outputs"]["pred"]
        image |= {
            "format": FORMATS.get(plan["modality"], "magnitude"),
            "modality": plan["modality"],
            "num_channels": len(plan["channels"]),
            "value_range": image["value_range"] if plan["window"] else [],
            "channel_def": {str(n): _scaled(name, plan) for n, name in enumerate(plan["channels"])},
        }
        outputs = ["any structure"] if key == LOCATOR else channels
        kind = next(iter(pred["channel_def"].values())).split(" of ")[0]  # logit, or probability
        pred |= {
            "num_channels": len(outputs),
            "channel_def": {str(n): f"{kind} of {name}" for n, name in enumerate(outputs)},
        }
    classes = ", ".join(["0 background", *_values_named(plan)])
    described |= {"label_classes": f"one channel: {classes}", "pred_classes": f"one channel: {classes}"}
    return described


def structure_names(plan: dict[str, Any]) -> list[str]:
    """The structures' names in the order of the label values, without background."""
    named = {value: name for name, value in plan["structures"].items() if isinstance(value, int)}
    return [named.get(value, f"structure {value}") for value in plan["label_values"][1:]]


def _values_named(plan: dict[str, Any]) -> list[str]:
    """``1 liver`` for each label value, or ``1 or 2 whole tumor`` for each region where these overlap."""
    regions = [own for own in plan["structures"].values() if isinstance(own, list)]
    if not regions:
        return [f"{value} {name}" for value, name in zip(plan["label_values"][1:], structure_names(plan), strict=True)]
    own = {name: value if isinstance(value, list) else [value] for name, value in plan["structures"].items()}
    return [f"{' or '.join(map(str, values))} {name}" for name, values in own.items()]


def _scaled(name: str, plan: dict[str, Any]) -> str:
    if plan["window"]:
        return f"{name}, {plan['window'][0]} to {plan['window'][1]} HU rescaled"
    of = "the voxels that are not 0" if plan["nonzero"] else "its voxels"
    return f"{name}, zero mean and unit standard deviation of {of}"
