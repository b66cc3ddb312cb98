import pytest
import torch
from torch.nn import functional

from hypertune.errors import TaskError
from hypertune.tasks.digits import digits
from hypertune.tasks.digits_patches import digits_patches


@pytest.mark.parametrize(("patch_size", "shape"), [(1, (1, 64)), (2, (4, 16)), (4, (16, 4))])
def test_patches_are_torchs_own_cut_of_the_same_images(patch_size, shape):
    task, images = digits_patches(patch_size=patch_size), digits()
    assert task.spec.input_shape == shape
    for mine, theirs in zip((task.train, task.val, task.test), (images.train, images.val, images.test), strict=True):
        torch.testing.assert_close(mine.x, functional.unfold(theirs.x, patch_size, stride=patch_size), rtol=0, atol=0)
        assert torch.equal(mine.y, theirs.y)


def test_sizes_and_seed_are_those_of_digits():
    options = {"n_train": 100, "n_val": 50, "n_test": 60, "split_seed": 3}
    task, images = digits_patches(**options), digits(**options)
    assert torch.equal(task.test.y, images.test.y)
    assert [len(split) for split in (task.train, task.val, task.test)] == [100, 50, 60]


@pytest.mark.parametrize("patch_size", [0, 3, 8, 2.0, True, "2", None])
def test_a_wrong_patch_size_is_named(patch_size):
    with pytest.raises(TaskError, match="one of 1, 2, 4") as caught:
        digits_patches(patch_size=patch_size)
    assert caught.value.where == "task.patch_size"
