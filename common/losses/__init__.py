"""Losses that MONAI lacks. Dice and focal loss are MONAI's, configured as follows.

* Dice over the whole batch: ``DiceLoss(sigmoid=True, batch=True, smooth_nr=0, smooth_dr=1e-6)``
* focal, with alpha on the foreground: ``FocalLoss(gamma=2, alpha=0.25)``
* focal with the foreground weighted w times, ``(1 + (w - 1) g) (1 - p_t)^2 BCE`` (w = 200 in the original V-Net
  project): ``FocalLoss(gamma=2, alpha=w / (1 + w), weight=1 + w)``
* cross entropy weighted by class, of a label that holds classes (torch's weighted mean over the voxels):
  ``DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=0, weight=torch.tensor([1.0, 1.0, 3.0]))``
* for several structures, or voxels that nobody labeled: :class:`StructureLoss` of any of these
* Dice with squares in the denominator, of probabilities (the article on Vox2Vox):
  ``DiceLoss(squared_pred=True, batch=True, smooth_nr=1, smooth_dr=1)``
"""

from common.losses.adversarial import (
    discriminator_accuracy,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from common.losses.boundary import BoundaryLoss, HybridLoss
from common.losses.dice_focal import DiceFocalLoss
from common.losses.known import KnownVoxelsLoss
from common.losses.occupancy import OccupancyLoss
from common.losses.structures import StructureLoss
from common.losses.weighted_dice import ClassWeightedDiceLoss

__all__ = [
    "BoundaryLoss",
    "ClassWeightedDiceLoss",
    "DiceFocalLoss",
    "HybridLoss",
    "KnownVoxelsLoss",
    "OccupancyLoss",
    "StructureLoss",
    "discriminator_accuracy",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
]
