"""Law: a training sees the same crops for every number and kind of workers, and all of an epoch once.

Runs where PyTorch is installed: ``make test-torch``.
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, StorageError

torch = pytest.importorskip("torch")

# PyTorch warns where there are more workers than processors; the law is about their number.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

from torch.utils.data import DataLoader, DistributedSampler  # noqa: E402

from lamella.torch import CropDataset, CropStream, loader  # noqa: E402


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    path = tmp_path_factory.mktemp("training") / "plate.zarr"
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version="0.5"
    ) as plate:
        for n, position in enumerate(plate.create_positions([("A", "1", "0"), ("B", "2", "0")])):
            pixels = np.random.default_rng(n).integers(0, 999, (2, 2, 4, 64, 64), dtype="uint16")
            position.create_image("0", pixels, chunks=(1, 1, 2, 16, 16), shards_ratio=(1, 1, 2, 4, 4))
            position.labels.create("cells", (pixels[:, 0] > 500).astype("uint16"))
    return lamella.open_ome_zarr(path)


def batches(dataset, **options):
    return list(DataLoader(dataset, batch_size=4, **options))


def flat(found):
    return torch.cat([batch["image"] for batch in found])


def test_a_sample_is_the_crop_as_tensors(plate):
    dataset = CropDataset(plate, (16, 16), length=20, labels="cells")
    sample = dataset[3]
    t, _, z, y, x = sample["corner"].tolist()
    position = plate[sample["position"]]
    assert sample["image"].dtype == torch.float32
    assert sample["labels"].dtype == torch.int64
    assert np.array_equal(sample["image"].numpy(), position["0"][t, :, z, y : y + 16, x : x + 16])
    assert np.array_equal(
        sample["labels"].numpy(), position.labels["cells"]["0"][t, z, y : y + 16, x : x + 16]
    )
    with pytest.raises(IndexError):
        dataset[20]


def test_voxels_that_the_dtype_cannot_represent_are_refused(plate):
    dataset = CropDataset(plate, (64, 64), length=1, dtype="uint8")
    with pytest.raises(ValueError, match=r"have \d{3}, and the range of uint8.*plate.zarr/[AB]/"):
        dataset[0]


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_every_kind_give_the_same_epoch(plate, workers, start):
    plate["A/1/0"]["0"][:]  # the parent has read: threads of an engine would not survive a fork
    dataset = CropDataset(plate, (2, 16, 16), length=20)
    alone = flat(batches(dataset))
    assert torch.equal(flat(batches(dataset, num_workers=workers, multiprocessing_context=start)), alone)
    assert len(alone) == 20


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_drawn_anew_and_again_the_same(plate, workers):
    dataset = CropDataset(plate, (16, 16), length=12)
    options = {"num_workers": workers}
    if workers:
        options |= {"persistent_workers": True, "multiprocessing_context": "fork"}
    loader = DataLoader(dataset, batch_size=4, **options)
    epochs = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        epochs.append(flat(loader))
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])


def test_a_batch_is_the_samples_one_by_one(plate):
    dataset = CropDataset(plate, (8, 8), length=30, labels="cells", foreground=0.5)
    together = dataset.__getitems__([4, 9, 29])
    for number, sample in zip([4, 9, 29], together, strict=True):
        alone = dataset[number]
        assert torch.equal(sample["image"], alone["image"])
        assert torch.equal(sample["labels"], alone["labels"])
        assert sample["position"] == alone["position"]


def test_distributed_samplers_share_an_epoch(plate):
    dataset = CropDataset(plate, (8, 8), length=16)
    parts = [
        flat(batches(dataset, sampler=DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=False)))
        for rank in range(2)
    ]
    assert sorted(map(hash_of, torch.cat(parts))) == sorted(map(hash_of, flat(batches(dataset))))


def hash_of(crop):
    return crop.numpy().tobytes()


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_a_stream_gives_each_crop_of_the_dataset_once(plate, workers, world):
    wanted = flat(batches(CropDataset(plate, (8, 8), length=23)))
    found = []
    for rank in range(world):
        stream = CropStream(plate, (8, 8), length=23, window=5, rank=rank, world_size=world)
        options = {"multiprocessing_context": "fork"} if workers else {}
        found += [flat(DataLoader(stream, batch_size=4, num_workers=workers, **options))]
        assert len(stream) == len(found[-1])
    assert sorted(map(hash_of, torch.cat(found))) == sorted(map(hash_of, wanted))


@pytest.mark.parametrize(
    "options",
    [{"length": 0}, {"length": 1.5}, {"window": 1.5}, {"rank": 2}, {"rank": -1}, {"world_size": 0}],
)
def test_wrong_numbers_are_refused_at_once(plate, options):
    with pytest.raises(InvalidArgumentError):
        CropStream(plate, (8, 8), **{"length": 4, "world_size": 2, **options})
    with pytest.raises(InvalidArgumentError):
        CropDataset(plate, (8, 8), length=4).set_epoch(0.5)


def test_a_transform_makes_the_sample(plate):
    dataset = CropDataset(plate, (8, 8), length=4, transform=lambda sample: sample["image"].mean())
    assert dataset[1] == pytest.approx(float(CropDataset(plate, (8, 8), length=4)[1]["image"].mean()))


@pytest.mark.parametrize("kind", [CropDataset, CropStream])
def test_an_unknown_option_is_named_with_those_that_are_known(plate, kind):
    with pytest.raises(
        TypeError, match=rf"{kind.__name__}\(\) has no option 'lenght'. Did you mean 'length'"
    ):
        kind(plate, (16, 16), lenght=20)


def test_a_loader_starts_workers_that_can_read_object_stores(plate, service):
    pixels = plate["A/1/0"]["0"][...]
    with lamella.open_ome_zarr("s3://bucket/a.zarr", "fov", "w-", ["DAPI", "GFP"], version="0.5") as made:
        made["0"] = pixels
    here = CropDataset(plate["A/1/0"], (16, 16), length=8)
    there = CropDataset(lamella.open_ome_zarr("s3://bucket/a.zarr"), (16, 16), length=8)
    expected = flat(batches(here))
    assert torch.equal(flat(loader(there, batch_size=4)), expected)
    for dataset, options in ((there, {}), (there, {"multiprocessing_context": "spawn"}), (here, {})):
        assert torch.equal(flat(loader(dataset, batch_size=4, num_workers=1, **options)), expected)
    inside = torch.utils.data.Subset(there, range(4))
    assert loader(inside, num_workers=1).multiprocessing_context.get_start_method() == "forkserver"
    assert loader(here, num_workers=1).multiprocessing_context is None
    with pytest.raises(InvalidArgumentError, match="forkserver"):
        loader(inside, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(StorageError, match="forkserver"):
        batches(there, num_workers=1, multiprocessing_context="fork")
