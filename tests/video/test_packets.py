"""What an index of packets counts as frames, and where decoding starts anew."""

import numpy as np

from kinema.video.packets import Key, PacketIndex, PacketStamp, index_packets, plan_runs


def test_runs_restart_only_where_a_seek_saves_work() -> None:
    keys = tuple(Key(pts=at, dts=at, position=at) for at in (0, 10, 50, 100))
    index = PacketIndex(pts=np.arange(150), positions=np.arange(150), keys=keys)
    assert plan_runs(index, [3, 12, 99, 100, 149]) == [(keys[0], [3, 12]), (keys[2], [99, 100, 149])]


def test_what_the_file_does_not_show_is_not_counted() -> None:
    leading = [PacketStamp(8, 0, False, False)]  # before the first keyframe: refers to frames cut away
    group = [PacketStamp(10, 1, True, True), PacketStamp(12, 2, False, False), PacketStamp(9, 3, False, False)]
    index = index_packets([*leading, *group, PacketStamp(11, 4, False, False)])
    assert index is not None
    assert index.pts.tolist() == [11, 12]
    assert index.positions.tolist() == [4, 2]
    assert index_packets([*group, PacketStamp(None, 5, False, False)]) is None
    assert index_packets([*group, PacketStamp(12, 5, False, False)]) is None
