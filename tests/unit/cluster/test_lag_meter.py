from lib.cluster.lag_meter import MAX_SAMPLES, LagMeter


def test_a_reader_that_has_all_has_no_lag():
    meter = LagMeter()
    assert [meter.lag_ns(number, number, number) for number in range(3)] == [0, 0, 0]


def test_a_lag_is_measured_between_two_samples_as_if_the_stream_grew_evenly():
    meter = LagMeter()
    meter.lag_ns(0, 0, 1_000)
    meter.lag_ns(0, 100, 2_000)
    assert meter.lag_ns(50, 200, 3_000) == 1_500
    assert meter.lag_ns(150, 200, 3_100) == 3_100 - 2_500
    assert meter.lag_ns(200, 200, 3_200) == 0


def test_a_reader_that_stands_still_falls_behind_from_the_moment_the_stream_went_on():
    meter = LagMeter()
    for now_ns in range(0, 10_000, 500):  # an hour without an entry, say
        assert meter.lag_ns(7, 7, now_ns) == 0
    assert meter.lag_ns(7, 8, 10_000) == 500
    assert meter.lag_ns(7, 8, 13_000) == 3_500


def test_a_reader_that_begins_far_behind_has_at_least_the_time_since_then():
    meter = LagMeter()
    assert meter.lag_ns(0, 100, 5_000) == 0
    assert meter.lag_ns(10, 200, 6_000) == 1_000


def test_another_tape_begins_anew():
    meter = LagMeter()
    meter.lag_ns(900, 1_000, 0)
    assert meter.lag_ns(0, 5, 1_000) == 0
    assert meter.lag_ns(0, 5, 2_000) == 1_000


def test_the_longest_lag_that_is_measured_is_bounded():
    meter = LagMeter()
    lags = [meter.lag_ns(0, number, number) for number in range(2 * MAX_SAMPLES)]
    assert max(lags) == MAX_SAMPLES - 1
