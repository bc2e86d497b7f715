"""The searches, on the analytic function of two ellipsoids for which the specification gives exact counts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.inferers import LowResolutionStart
from common.inferers.occupancy_field import Field, coarse_to_fine, dense
from common.inferers.occupancy_mise import mise

GRID = (64, 64, 40)


def ellipsoid(q: Tensor, center: Sequence[float], radii: Sequence[float]) -> Tensor:
    return 1 - (((q - torch.tensor(center).double()) / torch.tensor(radii).double()) ** 2).sum(dim=1)


def two_ellipsoids(points: Tensor, extent: Sequence[int]) -> Tensor:
    q = points.double() / torch.tensor(extent)
    one = ellipsoid(q, (0.36, 0.42, 0.45), (0.20, 0.17, 0.22))
    other = ellipsoid(q, (0.60, 0.60, 0.58), (0.16, 0.20, 0.18))
    return 8 * torch.maximum(one, other)[None]


def field(shape: Sequence[int] = GRID, extent: Sequence[int] = GRID, **options) -> Field:
    return Field(lambda points: two_ellipsoids(points, extent), shape, **options)


def box(low: Sequence[int], high: Sequence[int]):
    """Logits of a box of voxels, both ends included."""

    def evaluate(points: Tensor) -> Tensor:
        return (((points >= torch.tensor(low)) & (points <= torch.tensor(high))).all(dim=1).float() - 0.5)[None]

    return evaluate


def truth(shape: Sequence[int] = GRID, extent: Sequence[int] = GRID) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    return two_ellipsoids(torch.stack(axes, dim=-1).view(-1, 3), extent).view(shape) > 0


def ideal(low: Sequence[int]) -> Tensor:
    return F.adaptive_max_pool3d(truth()[None].float(), low)


@pytest.mark.parametrize(
    ("depth", "rounds"),
    [(3, [729, 753, 3132, 12578, 73]), (2, [4913, 3146, 12592, 25])],
    ids=["from 8", "from 16"],
)
def test_mise_evaluates_the_known_points_and_makes_no_error(depth, rounds):
    answer = field((65, 65, 65), (64, 64, 64))
    mise(answer, depth=depth)
    assert answer.rounds == rounds
    assert torch.equal(answer.logits[0] > 0, truth((65, 65, 65), (64, 64, 64)))


def test_coarse_to_fine_evaluates_the_published_codes_points_and_loses_its_two_voxels():
    answer = field()
    coarse_to_fine(answer)
    found = answer.logits[0] > 0
    assert answer.rounds == [2560, 2739, 9860]
    assert found.sum() == 8983 and not (found & ~truth()).any()


@pytest.mark.parametrize(("low", "first"), [((8, 8, 5), 439), ((4, 4, 2), 1547)])
def test_coarse_to_fine_starts_from_an_auxiliary_segmentation_as_the_published_code_does(low, first):
    answer = field()
    start = LowResolutionStart(dilation=0, align_corners=True)
    coarse_to_fine(answer, start(ideal(low), (0, 0, 0), GRID))
    assert answer.rounds == [first, 2739, 9860]
    assert (answer.logits[0] > 0).sum() == 8983


def test_dense_evaluates_every_voxel_once():
    answer = field()
    dense(answer)
    assert answer.rounds == [64 * 64 * 40]
    assert torch.equal(answer.logits[0] > 0, truth())


def test_mise_finds_the_same_on_grids_of_any_shape():
    answer = field((61, 50, 38))
    mise(answer)
    assert torch.equal(answer.logits[0] > 0, truth((61, 50, 38)))
    assert sum(answer.rounds) < 61 * 50 * 38 / 7


def test_mise_finds_structures_that_touch_the_grids_border():
    answer = Field(box((10, 20, 0), (27, 29, 16)), (28, 30, 17))
    mise(answer)
    assert (answer.logits[0] > 0).sum() == 18 * 10 * 17


def test_mise_asks_for_nothing_beyond_the_last_voxel():
    asked = []

    def evaluate(points: Tensor) -> Tensor:
        asked.append(points)
        return box((10, 20, 0), (27, 29, 16))(points)

    mise(Field(evaluate, (28, 30, 17)))
    assert torch.cat(asked).amax(dim=0).tolist() == [27, 29, 16]
    assert len(torch.unique(torch.cat(asked), dim=0)) == len(torch.cat(asked))


def test_mise_loses_a_speck_between_the_points_of_its_lattice():
    answer = Field(box((1, 1, 1), (2, 2, 2)), (17, 17, 17))
    mise(answer)
    assert not (answer.logits > 0).any() and answer.rounds == [27]


def test_a_logit_at_the_threshold_is_of_both_classes():
    def zero_at_the_center(points: Tensor) -> Tensor:
        return torch.where((points == 8).all(dim=1), 0.0, -1.0)[None]

    answer = Field(zero_at_the_center, (17, 17, 17))
    mise(
        answer, depth=1
    )  # the cells around the point of logit 0 are split: 27 points less the 9 of each that are known
    assert answer.rounds == [9**3, 5**3 - 3**3]


def test_mise_with_an_auxiliary_segmentation_evaluates_less_and_finds_the_same():
    alone, started = field(), field()
    mise(alone)
    mise(started, LowResolutionStart(dilation=0)(ideal((8, 8, 5)), (0, 0, 0), GRID))
    assert torch.equal(started.logits[0] > 0, truth())
    assert started.rounds[0] < alone.rounds[0] / 5 and sum(started.rounds) < sum(alone.rounds)


def test_mise_follows_a_structure_beyond_the_candidates():
    low = torch.zeros(1, 8, 8, 5)
    low[0, 3, 3, 2] = 1  # of 8 x 8 x 8
    answer = field()
    mise(answer, LowResolutionStart()(low, (0, 0, 0), GRID))
    # grown by one, it holds 2 x 2 x 2 points of the lattice; beside them along one axis the value is still 9/16
    assert answer.rounds[0] == 8 + 3 * 4
    assert torch.equal(answer.logits[0] > 0, truth())


def test_dense_with_an_auxiliary_segmentation_evaluates_its_surroundings_only():
    low = torch.zeros(1, 8, 8, 5)
    low[0, 4, 4, 2] = 1  # voxels 32 to 39, 32 to 39 and 16 to 23
    answer = field()
    dense(answer, LowResolutionStart(threshold=0.4, dilation=0)(low, (0, 0, 0), GRID))
    # beside the center of the other axes (15/16 each), the value is 9/16 of that at voxel 32 and 7/16 at voxel 31
    assert 0 < answer.rounds[0] <= 8**3
    evaluated = (answer.logits[0] != -30).nonzero()
    assert evaluated.amin(dim=0).tolist() == [32, 32, 16] and evaluated.amax(dim=0).tolist() == [39, 39, 23]


def test_the_auxiliary_segmentation_lies_on_the_working_grid_not_on_the_volume():
    low = torch.zeros(1, 2, 2, 2)
    low[0, 1, 1, 1] = 1
    start = LowResolutionStart(dilation=0)
    candidates = start(low, (3, 3, 3), (16, 16, 16))
    axes = [torch.arange(10), torch.tensor([8]), torch.tensor([8])]
    # along the first axis the value rises from 0 at 3.5 to 1 at 11.5 of the working grid; at 8 + 3 of the others it is
    # 15/16 each: more than a half from 8.05 on, which is voxel 6 of the volume
    assert candidates(axes, 1)[:, 0, 0].tolist() == [False] * 6 + [True] * 4


def test_dilation_grows_the_candidates_by_a_voxel_of_the_segmentation():
    low = torch.zeros(1, 5, 1, 1)
    low[0, 2] = 1
    axes = [torch.arange(20), torch.tensor([0]), torch.tensor([0])]
    counts = [LowResolutionStart(dilation=n)(low, (0, 0, 0), (20, 4, 4))(axes, 1).sum().item() for n in (0, 1)]
    assert counts == [4, 12]


def three_slabs(points: Tensor) -> Tensor:
    """Classes 1, 0 and 2 along the first axis."""
    classes = torch.bucketize(points[:, 0], torch.tensor([5, 20]))
    return 4 * F.one_hot(torch.tensor([1, 0, 2])[classes], 3).T.float()


@pytest.mark.parametrize("search", [dense, mise])
def test_classes_are_told_apart_by_the_largest_logit(search):
    answer = Field(three_slabs, (33, 9, 9), channels=3, output="softmax")
    search(answer)
    assert answer.logits.argmax(dim=0)[:, 4, 4].tolist() == [1] * 6 + [0] * 15 + [2] * 12


def test_mise_refines_between_two_classes_that_are_not_the_background():
    def evaluate(points: Tensor) -> Tensor:
        return F.one_hot(1 + (points[:, 1] > 10).long(), 3).T.float()

    answer = Field(evaluate, (17, 17, 17), channels=3, output="softmax")
    mise(answer)
    assert answer.logits.argmax(dim=0)[3, :, 5].tolist() == [1] * 11 + [2] * 6


def test_what_coarse_to_fine_never_evaluated_is_background():
    answer = Field(three_slabs, (33, 9, 9), channels=3, output="softmax")
    coarse_to_fine(answer)
    never = answer.logits[:, 12, 4, 2]  # far from both structures, and on no lattice of stride 4
    assert never.tolist() == [30, -30, -30]


def test_points_are_evaluated_at_most_so_many_at_a_time():
    sizes = []

    def evaluate(points: Tensor) -> Tensor:
        sizes.append(len(points))
        return two_ellipsoids(points, GRID)

    answer = Field(evaluate, GRID, max_points=100)
    mise(answer)
    assert max(sizes) == 100 and sum(sizes) == sum(answer.rounds)


def blobs(points: Tensor, count: int) -> Tensor:
    """Smooth logits of some balls that touch, above 0 inside of each."""
    generator = torch.Generator().manual_seed(3)
    centers, radii = 8 + 24 * torch.rand(count, 3, generator=generator), 5 + 5 * torch.rand(count, generator=generator)
    distance = torch.cdist(points.float(), centers).T  # (K, n)
    return (radii[:, None] - distance) / 3


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("depth", [1, 2])
def test_mise_of_any_structures_equals_asking_every_voxel_and_costs_less(depth, count, output):
    def evaluate(points: Tensor) -> Tensor:
        logits = blobs(points, count)
        return logits if output == "sigmoid" else torch.cat([torch.zeros_like(logits[:1]), logits])

    def answers(search) -> tuple[Tensor, int]:
        channels = count + (output == "softmax")
        answer = Field(evaluate, (40, 41, 39), channels=channels, output=output)
        search(answer)
        found = answer.logits.argmax(dim=0) if output == "softmax" else answer.logits > 0
        return found, sum(answer.rounds)

    (everywhere, all_voxels), (found, evaluated) = answers(dense), answers(lambda field: mise(field, depth=depth))
    assert everywhere.any() and torch.equal(found, everywhere)
    assert evaluated < all_voxels * {1: 0.5, 2: 0.4}[depth]


def test_mise_refines_where_one_region_of_two_ends_inside_the_other():
    def nested(points: Tensor) -> Tensor:
        distance = (points.float() - 16).norm(dim=1)
        return torch.stack([14 - distance, 5.5 - distance])

    answer = Field(nested, (33, 33, 33), channels=2)
    mise(answer, depth=2)
    everywhere = Field(nested, (33, 33, 33), channels=2)
    dense(everywhere)
    assert torch.equal(answer.logits > 0, everywhere.logits > 0)


def test_regions_that_were_never_evaluated_are_absent():
    answer = Field(lambda points: torch.full((3, len(points)), -1.0), (9, 9, 9), channels=3)
    coarse_to_fine(answer)
    assert answer.logits[:, 1, 1, 1].tolist() == [-30, -30, -30]
