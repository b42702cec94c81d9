"""The three roles for every input of the user: no photo and no near-duplicate has two."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.calib import photos as bundled_photos
from edgekit.errors import BadImage, InputError
from edgekit.images import ImageFolder, InputSpec, PreparedImages
from edgekit.pipeline.calibration import ENOUGH_JUDGES, Calibration, open_calibration
from edgekit.pipeline.precision import RandomImages
from edgekit.sources import Photos

SPEC = InputSpec(3, 32, 32, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def folder_of(path: Path, photos: Iterable[Path]) -> Path:
    path.mkdir(exist_ok=True)
    for photo in photos:
        shutil.copy(photo, path)
    return path


def tensors(paths: Iterable[Path]) -> set[bytes]:
    return {image.tobytes() for image in PreparedImages(list(paths), SPEC).stack()}


def roles_of(calibration: Calibration) -> tuple[set[bytes], set[bytes], set[bytes]]:
    """What each role sees, checked to be disjoint and as many as is said."""
    ranged = {image.tobytes() for image in calibration}
    chose = {image.tobytes() for image in calibration.choosing_images}
    judged = tensors(calibration.judging_images)
    assert not ranged & chose and not ranged & judged and not chose & judged
    counts = (calibration.entry.count, calibration.choosing.count, calibration.judging.count)
    assert counts == (len(ranged), len(chose), len(judged))
    return ranged, chose, judged


def test_the_bundled_photos_have_all_three_roles() -> None:
    ranged, chose, judged = roles_of(open_calibration(None, SPEC, ImageFolder.bundled()))
    assert ranged | chose | judged == tensors(bundled_photos())
    assert len(judged) >= ENOUGH_JUDGES and len(ranged) >= 24 and len(chose) >= ENOUGH_JUDGES


def test_one_folder_given_twice_is_split_as_well(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", bundled_photos()[10:70])
    (tmp_path / "link").symlink_to(folder)
    ranged, chose, judged = roles_of(
        open_calibration(folder, SPEC, ImageFolder.open(tmp_path / "link"))
    )
    assert ranged | chose | judged == tensors(bundled_photos()[10:70])
    of_all = roles_of(open_calibration(None, SPEC, ImageFolder.bundled()))
    assert all(here <= there for here, there in zip((ranged, chose, judged), of_all, strict=True))


def test_of_two_folders_the_second_gives_the_test_photos_without_near_duplicates(
    tmp_path: Path,
) -> None:
    mine = folder_of(tmp_path / "mine", bundled_photos()[:40])
    others = folder_of(tmp_path / "others", bundled_photos()[50:70])
    with Image.open(bundled_photos()[3]) as image:
        image.resize((200, 200 * image.height // image.width)).save(others / "like_one_of_mine.png")
    shutil.copy(bundled_photos()[4], others / "the_same_as_one_of_mine.jpg")
    ranged, chose, judged = roles_of(open_calibration(mine, SPEC, ImageFolder.open(others)))
    assert ranged | chose == tensors(bundled_photos()[:40]) and judged == tensors(
        bundled_photos()[50:70]
    )
    assert len(ranged) > len(chose) > 0


def test_a_test_folder_alone_tests_the_calibration_on_bundled_photos(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", ())
    for i, photo in enumerate(bundled_photos()[:20]):
        with Image.open(photo) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mine / f"{i}.png")
    ranged, chose, judged = roles_of(open_calibration(None, SPEC, ImageFolder.open(mine)))
    assert ranged | chose == tensors(bundled_photos()) and judged == tensors(sorted(mine.iterdir()))


def test_noise_uses_no_selection_and_test_photos() -> None:
    calibration = open_calibration(RandomImages(3), SPEC, ImageFolder.bundled())
    ranged, chose, judged = roles_of(calibration)
    assert (
        calibration.random
        and chose | judged == tensors(bundled_photos())
        and not ranged & tensors(bundled_photos())
    )


def test_too_few_test_photos_give_a_warning(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", bundled_photos()[: ENOUGH_JUDGES - 1])
    others = folder_of(tmp_path / "others", bundled_photos()[30:60])
    few = open_calibration(others, SPEC, ImageFolder.open(mine))
    assert len(few.judging_images) == ENOUGH_JUDGES - 1 and any(
        "inconclusive" in advice.message for advice in few.advice
    )
    shutil.copy(bundled_photos()[ENOUGH_JUDGES], mine)
    assert not any(
        "inconclusive" in advice.message
        for advice in open_calibration(others, SPEC, ImageFolder.open(mine)).advice
    )


def test_without_test_photos_it_is_refused(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", bundled_photos()[:30])
    part = folder_of(tmp_path / "mine" / "part", bundled_photos()[:5])
    with pytest.raises(InputError, match="no test photos are left"):
        open_calibration(mine, SPEC, ImageFolder.open(part))
    with pytest.raises(InputError, match="all 12 calibration photos are near-duplicates"):
        same = tmp_path / "same"
        same.mkdir()
        for i in range(12):
            shutil.copy(bundled_photos()[0], same / f"{i}.jpg")
        open_calibration(same, SPEC, ImageFolder.open(same))
    with pytest.raises(InputError, match="2 photos are too few"):
        open_calibration(
            (folder_of(tmp_path / "two", bundled_photos()[:2])),
            SPEC,
            ImageFolder.open(tmp_path / "two"),
        )


def test_copies_of_the_bundled_photos_are_named_as_such(tmp_path: Path) -> None:
    copied = folder_of(tmp_path / "copied", bundled_photos())
    with pytest.raises(InputError, match="also serve as test photos") as caught:
        open_calibration(copied, SPEC, ImageFolder.bundled())
    assert "`images`" not in caught.value.message
    assert (caught.value.hint or "").startswith("give `calibration` other photos")
    with pytest.raises(InputError, match="also serve for calibration") as caught:
        open_calibration(None, SPEC, ImageFolder.open(copied))
    assert "`calibration`" not in caught.value.message
    assert (caught.value.hint or "").startswith("give `images` other photos")


def test_calibration_photos_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for i in range(3):
        (bad / f"{i}.jpg").write_bytes(b"damaged")
    with pytest.raises(BadImage, match=r"^none of 3 images can be read: 0\.jpg: "):
        open_calibration(bad, SPEC, ImageFolder.bundled())


def test_no_training_image_of_a_run_judges(tmp_path: Path) -> None:
    """Also those that are not drawn for calibration."""
    train = ImageFolder.open(folder_of(tmp_path / "train", bundled_photos()[:40]))
    own = Photos(train, ImageFolder.open(folder_of(tmp_path / "val", bundled_photos()[40:60])))
    both = ImageFolder.open(folder_of(tmp_path / "both", bundled_photos()[20:60]))
    ranged, chose, judged = roles_of(open_calibration(None, SPEC, both, 10, own=own))
    assert len(ranged | chose) == 10 and judged == tensors(bundled_photos()[40:60])
    with pytest.raises(InputError, match="every test photo is also a training image"):
        open_calibration(None, SPEC, train, 10, own=own)


def test_the_key_tells_lists_and_preprocessings_apart(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", bundled_photos()[:30])
    key = open_calibration(mine, SPEC, ImageFolder.bundled()).key
    assert open_calibration(mine, SPEC, ImageFolder.bundled()).key == key
    other = InputSpec(3, 32, 32, 1.0, "bilinear", (0.4, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert open_calibration(mine, other, ImageFolder.bundled()).key != key
    assert open_calibration(mine, SPEC, ImageFolder.open(mine)).key != key


def test_the_same_at_every_pass() -> None:
    calibration = open_calibration(None, SPEC, ImageFolder.bundled())
    assert np.array_equal(np.stack(list(calibration)), np.stack(list(calibration)))
