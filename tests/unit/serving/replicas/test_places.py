from modelyard.serving.replicas.places import Demand, DemandBoard, DirectoryFile, Place, Places, ReplicaState, read_demand

PLACES = Places(wanted=2, replicas=(Place(name="a", socket="/s", pid=1, state=ReplicaState.READY),), reason="no")


def test_a_directory_is_read_once_each_time_it_is_written(tmp_path):
    writer, reader = DirectoryFile(tmp_path), DirectoryFile(tmp_path)
    assert reader.changed() is None
    writer.write({7: PLACES})
    assert reader.changed() == {7: PLACES}
    assert reader.changed() is None
    writer.write({})
    assert reader.changed() == {}


def test_a_damaged_directory_changes_nothing(tmp_path):
    reader = DirectoryFile(tmp_path)
    (tmp_path / "replicas.places").write_bytes(b"\xc1")
    assert reader.changed() is None
    DirectoryFile(tmp_path).write({7: PLACES})
    assert reader.changed() == {7: PLACES}


def test_demand_is_added_up_over_workers(tmp_path):
    first, second = DemandBoard(tmp_path, 0), DemandBoard(tmp_path, 1)
    first.tell(7, 3, 10)
    second.tell(8, 1, 1)
    second.tell(7, 2, 5)
    first.tell(7, 4, 11)
    assert read_demand(tmp_path, 3) == {7: Demand(6, 16), 8: Demand(1, 1)}
    first.forget(7)
    first.forget(9)
    assert read_demand(tmp_path, 2)[7] == Demand(2, 5)
    first.tell(9, 1, 1)
    assert read_demand(tmp_path, 1) == {9: Demand(1, 1)}


def test_a_worker_that_starts_again_wants_nothing_yet(tmp_path):
    DemandBoard(tmp_path, 0).tell(7, 3, 10)
    DemandBoard(tmp_path, 0)
    assert read_demand(tmp_path, 1) == {}


def test_more_versions_than_fit_are_left_out(tmp_path):
    board = DemandBoard(tmp_path, 0)
    for version_id in range(1, 2000):
        board.tell(version_id, 1, 1)
    assert len(read_demand(tmp_path, 1)) == 1024
